/** An address as it may be shown: without a name and password, and without a query. */
export function shown(address: string): string {
  return address.replace(/\/\/[^/]*@/, "//…@").replace(/[?#].*$/, "");
}
