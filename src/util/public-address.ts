import { lookup as systemLookup } from "node:dns";
import { BlockList, isIP, type LookupFunction } from "node:net";

/** What is nobody's on the open internet (IANA special-purpose address registries, RFC 6890). */
const SPECIAL = new BlockList();
for (const [net, bits] of [
  ["0.0.0.0", 8],
  ["10.0.0.0", 8],
  ["100.64.0.0", 10],
  ["127.0.0.0", 8],
  ["169.254.0.0", 16],
  ["172.16.0.0", 12],
  ["192.0.0.0", 24],
  ["192.0.2.0", 24],
  ["192.88.99.0", 24],
  ["192.168.0.0", 16],
  ["198.18.0.0", 15],
  ["198.51.100.0", 24],
  ["203.0.113.0", 24],
  ["224.0.0.0", 3],
] as const)
  SPECIAL.addSubnet(net, bits, "ipv4");
for (const [net, bits] of [
  ["2001::", 23],
  ["2001:db8::", 32],
  ["2002::", 16],
  ["3fff::", 20],
] as const)
  SPECIAL.addSubnet(net, bits, "ipv6");
/** All the unicast space there is (RFC 4291, section 2.4): addresses that stand for IPv4 ones lie outside of it. */
const UNICAST = new BlockList();
UNICAST.addSubnet("2000::", 3, "ipv6");

const LOOPBACK = new BlockList();
LOOPBACK.addSubnet("127.0.0.0", 8, "ipv4");
LOOPBACK.addAddress("::1", "ipv6");

/** Whether an IP address belongs to somebody on the open internet: not private, loopback, link-local or reserved. */
export function isPublicAddress(address: string): boolean {
  const version = isIP(address);
  if (version === 4) return !SPECIAL.check(address, "ipv4");
  return version === 6 && UNICAST.check(address, "ipv6") && !SPECIAL.check(address, "ipv6");
}

export interface AddressRule {
  /** Loopback counts as well. */
  allowLoopback?: boolean;
  lookup?: typeof systemLookup;
}

/**
 * A `lookup` for sockets that finds public addresses only, and fails with `EACCES` when a name has any other: what was
 * checked is what is connected to, so a name cannot change its mind in between.
 */
export function publicLookup({ allowLoopback = false, lookup = systemLookup }: AddressRule): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, { ...options, all: true }, (error, found) => {
      if (error) return callback(error, []);
      const wrong = found.find(({ address }) => !mayConnect(address, allowLoopback));
      if (wrong) return callback(privateAddress(hostname, wrong.address), []);
      if (options.all) return callback(null, found);
      callback(null, found[0]!.address, found[0]!.family);
    });
  };
}

/** Throws for a URL's host that is a private address itself: sockets ask no `lookup` about those. */
export function refusePrivateHost({ hostname }: URL, { allowLoopback = false }: AddressRule): void {
  const address = hostname.replace(/^\[(.*)\]$/, "$1");
  if (isIP(address) !== 0 && !mayConnect(address, allowLoopback)) throw privateAddress(hostname, address);
}

function mayConnect(address: string, allowLoopback: boolean): boolean {
  if (isPublicAddress(address)) return true;
  return allowLoopback && LOOPBACK.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

function privateAddress(hostname: string, address: string): NodeJS.ErrnoException {
  const which = hostname === address ? hostname : `${hostname} (${address})`;
  return Object.assign(new Error(`${which} is not a public address`), { code: "EACCES" });
}
