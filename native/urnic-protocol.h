/*
 * What the shim and the daemon say to each other on a context's control socket. The same numbers, with their meaning, stand in verbs/uverbs/protocol.ts;
 * test/uverbs/protocol.test.ts compares the two files.
 *
 * A request is answered by one reply, in order. All values are little endian.
 */
#ifndef URNIC_PROTOCOL_H
#define URNIC_PROTOCOL_H

#include <stdint.h>

enum request_op {
	OP_HELLO = 1,         /* argument: a role; payload: the token for ROLE_ATTACH */
	OP_WRITE = 2,         /* payload: the octets that the program gave to write() */
	OP_REQUEUE = 3,       /* argument: a channel; payload: events that were read in vain */
	OP_CLOSE_CHANNEL = 4, /* argument: a channel whose descriptor was closed */
	OP_CALL = 5,          /* ROLE_LINK only, as are the next: verbs/uverbs/attached-link.ts */
	OP_LEAVE = 6,
};

enum role {
	ROLE_CONTEXT = 1, /* a new uverbs context */
	ROLE_ATTACH = 2,  /* a forked child's own way to a context that it inherited */
	ROLE_CM = 3,      /* a new rdma_cm event channel */
	ROLE_CM_ATTACH = 4,
	ROLE_LINK = 5, /* a TypeScript program, which needs no shim */
	ROLE_WAKE = 6, /* urnic run: a vRNIC that starts when it is used */
};

enum action_type {
	ACTION_POKE = 1,        /* copy the payload to `address` */
	ACTION_NEW_FD = 2,      /* the next descriptor of the reply; its number to `address`; argument: kind << 32 | channel */
	ACTION_COMP_COUNT = 3,  /* completion events read of element `argument`, as 32 bits to `address`; the count begins anew */
	ACTION_ASYNC_COUNT = 4, /* the same for asynchronous events */
	ACTION_PURGE = 5,       /* drop the unread events of element `argument` from channel `address` (CHANNEL_ASYNC: the asynchronous ones) */
	ACTION_QP = 6,          /* QP handle `address`: argument = state << 56 | QPN << 32 | doorbell slot; QP_GONE forgets it. Payload of a new one: send CQ, receive CQ, 32 bits each */
	ACTION_CQ = 7,          /* CQ handle `address`: its ARM word is at octet `argument` of the queue file; 0 forgets it */
	ACTION_CONTEXT = 8,     /* address: octets of the queue file; argument: QP slots; payload: the token */
};

enum event_kind { EVENT_COMPLETION = 1, EVENT_ASYNC = 2, EVENT_CM = 3 };

#define CHANNEL_ASYNC 0xffffffffu
#define QP_GONE 0xffu
#define QP_STATE_RTS 3u
#define TOKEN_BYTES 16
#define DESCRIPTORS_MAX 4

struct request {
	uint32_t length; /* of all, this header too */
	uint32_t op;
	uint64_t argument;
};

struct reply {
	uint32_t length;
	int32_t result; /* 0, or a negative errno */
	uint32_t actions;
	uint32_t descriptors;
};

struct action {
	uint32_t type;
	uint32_t length; /* of the payload, which is padded to 8 octets */
	uint64_t address;
	uint64_t argument;
};

#endif
