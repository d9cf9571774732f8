/** What is wrong with a capture file, and at which octet of it. */
export class CaptureError extends Error {
  readonly offset: number;

  constructor(offset: number, problem: string) {
    super(`${problem} (at octet ${offset} of the capture)`);
    this.name = 'CaptureError';
    this.offset = offset;
  }
}
