/** Whether a variable's value, as a whole, stands for a secret that is put in where a run starts. */
export function isSecretReference(value: string): boolean {
  return value.startsWith("secret://");
}
