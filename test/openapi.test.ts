import { describe, expect, test } from "vitest";
import { createGatewayApp } from "../src/gateway/http/app.js";
import { apiDocument } from "../src/gateway/http/openapi/document.js";
import { documentErrors } from "./openapi-rules.js";

const document = apiDocument("1.2.3");
const documented = Object.entries(document.paths).flatMap(([path, operations]) =>
  Object.keys(operations).map((method) => `${method.toUpperCase()} ${path.replace(/\{\w+\}/g, ":")}`),
);

/** For people, in a browser. */
const PAGES =
  /^(?:GET \/style\.css|(?:GET|POST) \/signin|POST \/signout|(?:GET|POST) \/approve|GET \/(?:theme\.js|icon\.svg|assets\/:)|GET \/sessions\/:)$/;
/** Served by the upgrade of a connection, not by a route. */
const UPGRADES = ["GET /v2/connect/ws"];
/** Whatever a session's own servers serve. */
const BEHIND_PORTS = /^GET \/(?:v2|gateway)\/sessions\/:\/ports\/:$/;

describe("the OpenAPI document", () => {
  test("keeps the rules of OpenAPI 3.1", () => {
    expect(documentErrors(document)).toEqual([]);
  });

  test.each<[string, (broken: any) => void]>([
    ["leads nowhere", (it) => delete it.components.schemas.Routing],
    ["used by nobody", (it) => (it.components.schemas.Extra = {})],
    ["names two operations", (it) => (it.paths["/health"].get.operationId = "run")],
    ["path parameters differ", (it) => it.paths["/v2/runs/{run_id}"].get.parameters.shift()],
    [
      "has a parameter twice",
      (it) => it.paths["/v2/runs"].get.parameters.push(it.paths["/v2/runs"].get.parameters[0]),
    ],
    ["has no field colour", (it) => (it.paths["/health"].get.colour = "red")],
    ["no description", (it) => delete it.paths["/health"].get.responses[200].description],
    ["no tag Nothing", (it) => (it.paths["/health"].get.tags = ["Nothing"])],
    ["never succeeds", (it) => delete it.paths["/health"].get.responses[200]],
    ["schema", (it) => (it.components.schemas.Routing.type = "thing")],
  ])("would be refused by these rules: %s", (words, breakIt) => {
    const broken = structuredClone(document);
    breakIt(broken);
    expect(documentErrors(broken).join("\n")).toContain(words);
  });

  test("has every route that is served, and no other", () => {
    const nothing: any = new Proxy(() => {}, { get: () => nothing });
    const served = createGatewayApp(nothing)
      .routes.filter(({ method }) => method !== "ALL")
      .map(({ method, path }) => `${method} ${path.replace(/:\w+/g, ":")}`);
    expect(served.length).toBeGreaterThan(100);
    const bare = (one: string) => one.replace(/^(\w+) \/gateway\//, "$1 /v2/");
    const api = [
      ...new Set(served.filter((one) => !PAGES.test(one) && !BEHIND_PORTS.test(one)).map(bare)),
    ].sort();
    expect([...UPGRADES, ...api].sort()).toEqual([...documented].sort());
    // Both names of everything but what is named once.
    const twice = served.filter((one) => / \/v2\/(?!auth\/|docs$)/.test(one));
    expect(twice.filter((one) => !served.includes(one.replace("/v2/", "/gateway/")))).toEqual([]);
  });
});
