/** `urnic decode`: a capture file in words, one line a packet. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';

export function addDecode(program: Command): void {
  program
    .command('decode')
    .description('print the packets of a pcap or pcapng file: opcode, QPN, PSN, addresses, lengths, ICRC verdict')
    .argument('<file>', 'the capture; - for standard input')
    .option('--json', 'one JSON object a line')
    .action((file: string, flags: { json?: boolean }) => run(file, flags.json ?? false));
}

async function run(file: string, isJson: boolean): Promise<void> {
  const { readCapture } = await import('../../wire/capture.ts');
  const { decode } = await import('../../wire/decode.ts');
  const { describe, line } = await import('../../wire/describe.ts');
  const octets = readFileSync(file === '-' ? 0 : file);
  for (const frame of readCapture(octets)) {
    const description = describe(decode(frame.octets));
    const time = frame.seconds + frame.nanos / 1e9;
    console.log(isJson ? JSON.stringify({ time, ...description }) : `${time.toFixed(6)} ${line(description)}`);
  }
}
