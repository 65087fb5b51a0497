import { CerverError } from "../../protocol/errors.js";
import type { Env } from "../../util/paths.js";
import { launchd } from "./launchd.js";
import { systemd } from "./systemd.js";

/** What a service is to start, and for whom. */
export interface ServiceSpec {
  /** Node, the program, and its arguments, each as it is. */
  command: readonly string[];
  /** Variables that the relay gets; nothing secret, for others may read the file. */
  env: Readonly<Record<string, string>>;
  /** Whose relay it is. */
  user: { name: string; uid: number; home: string };
  configDir: string;
  stateDir: string;
}

/** Where a service belongs: to a user, or to the machine. */
export interface ServicePlace {
  system: boolean;
  env: Env;
  /** Whose service it is, or will be. */
  user: ServiceSpec["user"];
}

/** A service as its manager sees it. */
export interface ServiceStatus {
  manager: ServiceManagerName;
  scope: "user" | "system";
  file: string;
  installed: boolean;
  state: "running" | "starting" | "stopped" | "failed" | "unknown";
  /** In the manager's own words. */
  detail: string;
  pid: number | null;
  /** It starts with the machine, or with its user's session. */
  enabled: boolean;
  /** Whether it runs while its user is not logged in; null where nobody knows. */
  without_login: boolean | null;
}

export type ServiceManagerName = "systemd" | "launchd";

/** A program that starts services: one of this system's own. */
export interface ServiceManager {
  readonly name: ServiceManagerName;
  readonly file: string;
  /** The text of the service's file. */
  fileText(spec: ServiceSpec): string;
  /** Makes the manager know the file as it is now, starts the service with the machine from now on, and now. */
  load(options: { changed: boolean }): Promise<void>;
  /** Ends the service, and makes the manager forget it; before its file is removed. */
  unload(): Promise<void>;
  /** After the file was removed. */
  forget(): Promise<void>;
  start(): Promise<void>;
  stop(): Promise<void>;
  status(): Promise<ServiceStatus>;
  /** What its user has to do so that it stays, as lines to type; empty when there is nothing. */
  advice(): Promise<{ why: string; type: string }[]>;
}

/** This system's service manager. Throws `unsupported` where there is none that cerver knows. */
export function serviceManager(
  place: ServicePlace,
  platform: NodeJS.Platform = process.platform,
): ServiceManager {
  if (platform === "darwin") return launchd(place);
  if (platform === "linux") return systemd(place);
  throw new CerverError("unsupported", `cerver knows no service manager of ${platform}.`, {
    hint: "Let the system's own start `cerver relay` with the machine.",
  });
}

/** Which manager a relay is told it was started by. */
export function isServiceManager(name: string): name is ServiceManagerName {
  return name === "systemd" || name === "launchd";
}
