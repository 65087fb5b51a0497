import { Hono } from "hono";
import { VERSION } from "../../../util/version.js";

/** The description is made when it is first asked for: most gateways are never asked. */
async function describe() {
  const [{ apiDocument }, { apiInfo }] = await Promise.all([
    import("../openapi/document.js"),
    import("../openapi/info.js"),
  ]);
  const document = apiDocument(VERSION);
  return { document: JSON.stringify(document), info: JSON.stringify(apiInfo(document)) };
}
let described: ReturnType<typeof describe> | undefined;
const description = () => {
  described ??= describe();
  return described;
};

const JSON_TYPE = { "Content-Type": "application/json", "Cache-Control": "max-age=300" };

/** `/openapi.json`, `/v2/docs`, and `/` for programs. They hold no secret, so they ask for no token. */
export function apiDescriptionRoutes() {
  return new Hono()
    .get("/openapi.json", async (c) => c.body((await description()).document, 200, JSON_TYPE))
    .get("/v2/docs", async (c) => c.body((await description()).document, 200, JSON_TYPE))
    .get("/", async (c, next) => {
      if (!wantsJson(c.req.header("accept"))) return next();
      return c.body((await description()).info, 200, { ...JSON_TYPE, Vary: "Accept" });
    });
}

/** A browser asks for HTML, whatever else it would take. */
function wantsJson(accept = ""): boolean {
  return /\bapplication\/json\b/i.test(accept) && !/\btext\/html\b/i.test(accept);
}
