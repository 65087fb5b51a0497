/** A word for a POSIX shell (POSIX.1-2017, XCU section 2.2.2). */
export function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}
