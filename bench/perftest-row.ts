/** The line that perftest prints for messages of one size: octets, messages, then what it measured. */

/** Its columns; none when the program did not come so far. */
export const rowOf = (output: string, bytes: number): readonly string[] =>
  output
    .split('\n')
    .map((line) => line.trim())
    .find((line) => line.startsWith(`${bytes} `))
    ?.split(/\s+/) ?? [];
