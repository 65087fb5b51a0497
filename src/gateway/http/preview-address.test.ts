import { describe, expect, test } from "vitest";
import { previewAddress, previewUrl } from "./preview-address.js";

const ID = "019a0b0c0d0e7f10a1b2c3d4e5f60718";
const SESSION = `sess_${ID}`;
const TICKET = "1790000000.aBc-_9";
const at = { sessionId: SESSION, port: 3000, ticket: TICKET };

describe("a port's address", () => {
  test("by path, with a ticket and without", () => {
    const prefix = `/v2/sessions/${SESSION}/ports/3000`;
    expect(previewAddress("gw", `${prefix}/~${TICKET}/a/b?c=/d`, undefined)).toEqual({
      ...at,
      prefix: `${prefix}/~${TICKET}`,
      target: "/a/b?c=/d",
      isOwnHost: false,
    });
    expect(previewAddress("gw", `${prefix}/`, undefined)).toEqual({
      ...at,
      ticket: undefined,
      prefix,
      target: "/",
      isOwnHost: false,
    });
    expect(previewAddress("gw", `/gateway/sessions/${SESSION}/ports/3000/~a/`, undefined)?.prefix).toBe(
      `/gateway/sessions/${SESSION}/ports/3000/~a`,
    );
  });

  test("leads nowhere out of the port, whatever dots are in it", () => {
    const prefix = `/v2/sessions/${SESSION}/ports/3000/~${TICKET}`;
    for (const out of ["/../../x", "/%2e%2E/%2e%2e/x", "/.%2e/..", "/..\\..\\x"])
      expect(previewAddress("gw", prefix + out, undefined)?.target ?? "").not.toMatch(/\.\.|%2e/i);
    expect(previewAddress("gw", `${prefix}/a/../b//c`, undefined)?.target).toBe("/b//c");
    expect(previewAddress("gw", `${prefix}//evil.example/x`, undefined)?.target).toBe("//evil.example/x");
  });

  test("is none without the slash, with a port that there cannot be, or in another place", () => {
    for (const path of [
      `/v2/sessions/${SESSION}/ports/3000`,
      `/v2/sessions/${SESSION}/ports/0/`,
      `/v2/sessions/${SESSION}/ports/65536/`,
      `/v2/sessions/${SESSION}/runs/3000/`,
      "//evil.example/v2",
      "http://evil.example/",
      "*",
    ])
      expect(previewAddress("gw", path, undefined)).toBe(undefined);
  });

  test("by host, when there is a preview host", () => {
    const host = `3000-${ID}.preview.example.com`;
    const own = { ...at, ticket: undefined, prefix: "", target: "/a?b", isOwnHost: true };
    expect(previewAddress(host, "/a?b", "*.preview.example.com")).toEqual(own);
    expect(previewAddress(`${host.toUpperCase()}:8443`, "/a?b", "*.preview.example.com:8443")).toEqual(own);
    expect(previewAddress(host, "/a?b", undefined)).toBe(undefined);
    for (const other of [
      "preview.example.com",
      `x.${host}`,
      `0-${ID}.preview.example.com`,
      `${host}.evil.example`,
    ])
      expect(previewAddress(other, "/", "*.preview.example.com")).toBe(undefined);
  });
});

describe("a link to a port", () => {
  test("is read as what it was made from", () => {
    const url = new URL(previewUrl(at, "https://cerver.example.com", undefined));
    expect(previewAddress(url.host, url.pathname, undefined)).toMatchObject({ ...at, target: "/" });
  });

  test("names the port's own host, with the gateway's scheme and port unless the preview host says another", () => {
    const link = (gateway: string, host: string) => previewUrl(at, gateway, host);
    const name = `3000-${ID}`;
    expect(link("https://gw.example.com", "*.preview.example.net")).toBe(
      `https://${name}.preview.example.net/?cerver_link=${TICKET}`,
    );
    expect(link("http://127.0.0.1:8787", "*.localhost")).toBe(
      `http://${name}.localhost:8787/?cerver_link=${TICKET}`,
    );
    expect(link("http://127.0.0.1:8787", "*.localhost:80")).toBe(
      `http://${name}.localhost:80/?cerver_link=${TICKET}`,
    );
  });
});
