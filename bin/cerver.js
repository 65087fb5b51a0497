#!/usr/bin/env node
// Checks the version first, in words that even an old Node can read, then hands over to the bundled program.
var version = process.versions.node.split(".").map(Number);
if (version[0] < 20 || (version[0] === 20 && version[1] < 19)) {
  process.stderr.write(
    "error: cerver needs Node.js 20.19 or newer, and this is " +
      process.versions.node +
      ".\n" +
      "hint: install a current one from https://nodejs.org, then try again.\n",
  );
  process.exit(1);
}
// What agents start, and wait for, has a way in of its own.
var asMcp = /[\\/]cerver-mcp(?:\.js|\.cmd)?$/.test(process.argv[1] || "");
var mcpAlone = process.argv.length === (asMcp ? 2 : 3) && (asMcp || process.argv[2] === "mcp");
import(mcpAlone ? "../dist/cli/serve-mcp.js" : "../dist/cli/main.js").then(
  (main) => main.run(process),
  (error) => {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    process.stderr.write(
      "error: cerver is not built yet.\nhint: run `npm ci && npm run build` in its folder.\n",
    );
    process.exit(1);
  },
);
