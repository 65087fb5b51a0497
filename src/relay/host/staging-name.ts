import { randomBytes } from "node:crypto";

const STAGING_NAME = /^\.cerver-incoming-[0-9a-f]{32}$/;

/** A name for a staging folder. Nobody knows it before, so nothing that came into a folder can wait under it. */
export function newStagingName(): string {
  return `.cerver-incoming-${randomBytes(16).toString("hex")}`;
}

/** Whether a name at the top of a folder is that of a staging folder, which is never a part of what is carried. */
export function isStagingName(name: string): boolean {
  return STAGING_NAME.test(name);
}
