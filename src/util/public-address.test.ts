import type { lookup as systemLookup } from "node:dns";
import { expect, test } from "vitest";
import { isPublicAddress, publicLookup } from "./public-address.js";

test.each([
  "0.0.0.0",
  "10.1.2.3",
  "100.64.0.1",
  "127.0.0.1",
  "127.255.255.254",
  "169.254.169.254",
  "172.16.0.1",
  "172.31.255.255",
  "192.0.0.8",
  "192.168.1.1",
  "198.18.0.1",
  "203.0.113.7",
  "224.0.0.1",
  "240.0.0.1",
  "255.255.255.255",
  "::",
  "::1",
  "::ffff:127.0.0.1",
  "::ffff:8.8.8.8",
  "::7f00:1",
  "64:ff9b::7f00:1",
  "2001::1",
  "2001:db8::1",
  "2002:7f00:1::",
  "3fff::1",
  "fc00::1",
  "fd12::1",
  "fe80::1",
  "ff02::1",
  "localhost",
  "",
])("%s is nobody's on the open internet", (address) => {
  expect(isPublicAddress(address)).toBe(false);
});

test.each([
  "1.1.1.1",
  "8.8.8.8",
  "172.15.0.1",
  "172.32.0.1",
  "192.167.1.1",
  "2606:4700::1111",
  "2a00:1450::1",
])("%s is somebody's", (address) => {
  expect(isPublicAddress(address)).toBe(true);
});

test("a name with one private address among its addresses is refused", async () => {
  const lookup = ((_name: string, _options: object, done: (...found: unknown[]) => void) =>
    done(null, [
      { address: "1.1.1.1", family: 4 },
      { address: "10.0.0.1", family: 4 },
    ])) as unknown as typeof systemLookup;
  const error = await new Promise((resolve) =>
    publicLookup({ lookup })("client.example", {}, (failure) => resolve(failure)),
  );
  expect(error).toMatchObject({
    code: "EACCES",
    message: "client.example (10.0.0.1) is not a public address",
  });
});
