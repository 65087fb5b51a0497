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
import("../dist/cli/main.js").then(
  (main) => main.run(process),
  (error) => {
    if (error.code !== "ERR_MODULE_NOT_FOUND") throw error;
    process.stderr.write(
      "error: cerver is not built yet.\nhint: run `npm ci && npm run build` in its folder.\n",
    );
    process.exit(1);
  },
);
