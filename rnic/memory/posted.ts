/**
 * When work requests were last looked for. What a program puts into its memory before it posts is there when its producer index is read: payload of all work
 * requests that one look has found may come from one read of the memory, if that is younger than the look. Per worker thread.
 */
let look = 0;

/** New work requests were found, or memory was written: what was read before is too old. */
export const lookAgain = (): void => {
  look = (look + 1) | 0;
};

export const lastLook = (): number => look;
