/** Commands and answers of TypeScript programs as text: JSON, with a form for what JSON lacks. `{"$int": "7"}` is a bigint, `{"$octets": "base64"}` a Uint8Array. */

export function encode(value: object): Buffer {
  return Buffer.from(
    JSON.stringify(value, function (this: Record<string, unknown>, key, plain: unknown) {
      const member = this[key]; // before toJSON, which Buffers have
      if (typeof member === 'bigint') return { $int: member.toString() };
      if (member instanceof Uint8Array) return { $octets: Buffer.from(member).toString('base64') };
      return plain;
    }),
  );
}

/** @throws SyntaxError */
export function decode(octets: Uint8Array): unknown {
  return JSON.parse(new TextDecoder().decode(octets), (_key, value: unknown) => {
    if (typeof value !== 'object' || value === null) return value;
    const { $int, $octets } = value as { $int?: unknown; $octets?: unknown };
    if (typeof $int === 'string') return BigInt($int);
    if (typeof $octets === 'string') return Uint8Array.from(Buffer.from($octets, 'base64'));
    return value;
  });
}
