/** Loss on a link without netem: nftables drops packets at random as they come in. */
import type { Namespace } from './netns.ts';

/** RoCEv2 packets that come in by `device` are lost with this probability (0 … 1; four digits count). Bridged and AF_PACKET readers see only what is left. */
export async function loseIncoming(namespace: Namespace, device: string, probability: number): Promise<void> {
  const rules = `table netdev urnic_loss {
  chain in {
    type filter hook ingress device ${device} priority -500;
    udp dport 4791 numgen random mod 10000 < ${Math.round(probability * 10_000)} counter drop
  }
}\n`;
  const { code, output } = await namespace.run(['nft', '-f', '-'], { input: rules });
  if (code !== 0) throw new Error(`nft: ${output}`);
}
