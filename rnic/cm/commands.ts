/**
 * What applications ask of the connection manager, and what it tells them: rdma_cm's verbs and events (`rdma_cm(7)`), as commands of the one control protocol.
 * Ids are numbers of a context; a QP is named by its number, for the manager owns no QP: the application moves its own through the states, with the attributes that
 * `cmInitQpAttr` gives.
 */
import type { Handle, QpAttributes } from '../commands.ts';
import type { QpState, QpType } from '../constants.ts';
import type { AddressVector } from '../path.ts';

/** `enum rdma_port_space`. */
export const PortSpace = { TCP: 0x0106, UDP: 0x0111 } as const;
export type PortSpace = (typeof PortSpace)[keyof typeof PortSpace];

/** `enum rdma_cm_event_type`. */
export const CmEventType = {
  ADDR_RESOLVED: 0,
  ADDR_ERROR: 1,
  ROUTE_RESOLVED: 2,
  ROUTE_ERROR: 3,
  CONNECT_REQUEST: 4,
  CONNECT_RESPONSE: 5,
  CONNECT_ERROR: 6,
  UNREACHABLE: 7,
  REJECTED: 8,
  ESTABLISHED: 9,
  DISCONNECTED: 10,
  DEVICE_REMOVAL: 11,
  MULTICAST_JOIN: 12,
  MULTICAST_ERROR: 13,
  ADDR_CHANGE: 14,
  TIMEWAIT_EXIT: 15,
} as const;
export type CmEventType = (typeof CmEventType)[keyof typeof CmEventType];

/** An IP address as a GID has it (IPv4 mapped; all zero: any), and a port. */
export interface CmAddress {
  readonly address: Uint8Array;
  readonly port: number;
}

/** `rdma_conn_param`. Numbers as in the messages: resources 0 … 255, retries 0 … 7. */
export interface CmParameters {
  readonly qpNum: number;
  /** UDP port space; 0: RDMA_UDP_QKEY. */
  readonly qKey?: number;
  readonly privateData: Uint8Array;
  readonly srq: boolean;
  readonly responderResources: number;
  readonly initiatorDepth: number;
  readonly flowControl: boolean;
  readonly retryCount: number;
  readonly rnrRetryCount: number;
}

export type CmOption = 'tos' | 'reuseAddr' | 'afOnly' | 'ackTimeout';

export type CmCommand =
  | { op: 'cmCreateId'; portSpace: PortSpace; qpType: QpType; cookie?: bigint }
  | { op: 'cmDestroyId'; id: Handle }
  | { op: 'cmBindAddr'; id: Handle; local: CmAddress }
  /** Ends in ADDR_RESOLVED or ADDR_ERROR. */
  | { op: 'cmResolveAddr'; id: Handle; source?: CmAddress; destination: CmAddress; timeoutMillis: number }
  | { op: 'cmResolveRoute'; id: Handle }
  | { op: 'cmQueryRoute'; id: Handle }
  | { op: 'cmListen'; id: Handle; backlog: number }
  | { op: 'cmConnect'; id: Handle; parameters: CmParameters }
  /** Without `parameters`: the active side agrees to a CONNECT_RESPONSE. `cookie` replaces the id's. */
  | { op: 'cmAccept'; id: Handle; parameters?: CmParameters; cookie?: bigint }
  | { op: 'cmReject'; id: Handle; privateData: Uint8Array; reason?: number }
  | { op: 'cmDisconnect'; id: Handle }
  | { op: 'cmInitQpAttr'; id: Handle; state: QpState }
  /** The QP got data before the RTU came (COMM_EST). */
  | { op: 'cmNotify'; id: Handle }
  | { op: 'cmJoinMulticast'; id: Handle; group: Uint8Array; cookie?: bigint }
  | { op: 'cmLeaveMulticast'; multicast: Handle }
  | { op: 'cmSetOption'; id: Handle; option: CmOption; value: number };

export interface CmAnswers {
  cmCreateId: { id: Handle };
  cmDestroyId: object;
  cmBindAddr: object;
  cmResolveAddr: object;
  cmResolveRoute: object;
  cmQueryRoute: CmRoute;
  cmListen: object;
  cmConnect: object;
  cmAccept: object;
  cmReject: object;
  cmDisconnect: object;
  cmInitQpAttr: { mask: number; attributes: QpAttributes };
  cmNotify: object;
  cmJoinMulticast: { multicast: Handle };
  cmLeaveMulticast: object;
  cmSetOption: object;
}

export interface CmRoute {
  readonly local: CmAddress;
  readonly remote: CmAddress;
  /** The vRNIC is known: bound to an address of it, or resolved. */
  readonly isBound: boolean;
  /** Absent until the route is resolved. */
  readonly av?: AddressVector;
}

/** `rdma_cm_event`. */
export interface CmEvent {
  readonly context: number;
  readonly type: CmEventType;
  readonly id: Handle;
  readonly cookie: bigint;
  /** CONNECT_REQUEST: the id that listens; its cookie is `cookie`. */
  readonly listenId?: Handle;
  /** MULTICAST_JOIN, MULTICAST_ERROR: which join; its cookie is `cookie`. */
  readonly multicast?: Handle;
  /** 0, a negative errno, or the reason of a REJECTED. */
  readonly status: number;
  /** Of a connection: what the peer said. */
  readonly parameters?: CmParameters;
  /** Of datagrams: where they go. */
  readonly av?: AddressVector;
}
