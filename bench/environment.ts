/**
 * The environment of everything that is compared. A rich one would not be the same for all, as sshd and websocketd clear
 * it, and single variables weigh: one that names more certificates doubles the time that Node takes to start.
 */
export function environment(home = process.env.HOME): NodeJS.ProcessEnv {
  return { PATH: process.env.PATH, HOME: home, LANG: "C.UTF-8", CI: "1" };
}
