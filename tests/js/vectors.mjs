// The golden vectors, which the tests in Python read, too.

import { readFileSync } from "node:fs";

export function vectors(name) {
  return JSON.parse(readFileSync(new URL(`../vectors/v1/${name}.json`, import.meta.url), "utf-8"));
}
