import { expect, test } from "vitest";
import { engagement } from "./engagement.js";

test.each([
  [{ runs: 0, inputs: 0, ended: false }, 0, "warming"],
  [{ runs: 2, inputs: 0, ended: false }, 2, "warming"],
  [{ runs: 3, inputs: 0, ended: false }, 3, "engaged"],
  [{ runs: 1, inputs: 1, ended: false }, 3, "engaged"],
  [{ runs: 10, inputs: 5, ended: false }, 20, "deep"],
  [{ runs: 0, inputs: 0, ended: true }, 0, "idle"],
  [{ runs: 4, inputs: 0, ended: true }, 4, "engaged"],
] as const)("%j scores %i: %s", (interactions, score, label) => {
  expect(engagement(interactions)).toEqual({ score, label });
});
