/**
 * The shape of the connection manager's API, as librdmacm has it (`rdma_cm(7)`): ids, event channels, connection by address. The types are settled so that programs and the
 * uverbs side can be written against them; no vRNIC offers a connection manager yet.
 */
import type { Context } from './context.ts';
import type { Qp } from './queue-pair.ts';

/** `enum rdma_port_space`. */
export const PortSpace = { TCP: 0x0106, UDP: 0x0111 } as const;
export type PortSpace = (typeof PortSpace)[keyof typeof PortSpace];

/** `enum rdma_cm_event_type`, by name. */
export type CmEventName =
  | 'ADDR_RESOLVED'
  | 'ADDR_ERROR'
  | 'ROUTE_RESOLVED'
  | 'ROUTE_ERROR'
  | 'CONNECT_REQUEST'
  | 'CONNECT_RESPONSE'
  | 'CONNECT_ERROR'
  | 'UNREACHABLE'
  | 'REJECTED'
  | 'ESTABLISHED'
  | 'DISCONNECTED'
  | 'DEVICE_REMOVAL'
  | 'MULTICAST_JOIN'
  | 'MULTICAST_ERROR'
  | 'ADDR_CHANGE'
  | 'TIMEWAIT_EXIT';

export interface CmAddress {
  readonly address: string;
  readonly port: number;
}

/** `rdma_conn_param`. */
export interface ConnectionParameters {
  readonly privateData?: Uint8Array;
  readonly responderResources?: number;
  readonly initiatorDepth?: number;
  /** 0 … 7. */
  readonly retryCount?: number;
  readonly rnrRetryCount?: number;
}

export interface CmEvent {
  readonly name: CmEventName;
  readonly id: CmId;
  /** CONNECT_REQUEST: the id that listens. */
  readonly listenId?: CmId;
  /** errno, or the reason of a REJECTED. */
  readonly status: number;
  readonly privateData: Uint8Array;
}

export interface EventChannel {
  getCmEvent(): Promise<CmEvent>;
  createId(portSpace: PortSpace): CmId;
  destroy(): Promise<void>;
}

export interface CmId {
  readonly channel: EventChannel;
  readonly context: Context | null;
  readonly qp: Qp | null;
  bindAddr(address: CmAddress): Promise<void>;
  resolveAddr(destination: CmAddress, options?: { source?: CmAddress; timeoutMillis?: number }): Promise<void>;
  resolveRoute(timeoutMillis?: number): Promise<void>;
  connect(parameters?: ConnectionParameters): Promise<void>;
  listen(backlog?: number): Promise<void>;
  accept(parameters?: ConnectionParameters): Promise<void>;
  reject(privateData?: Uint8Array): Promise<void>;
  disconnect(): Promise<void>;
  destroy(): Promise<void>;
}
