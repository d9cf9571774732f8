/** Numbers of the Linux ABI that Node does not name, each with the header that defines it. Those that differ between architectures are the asm-generic ones (x86-64, arm64). */

// <bits/socket.h>, <asm-generic/socket.h>
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_PACKET = 17;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_ERROR = 4;
export const SO_REUSEADDR = 2;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_REUSEPORT = 15;
export const SO_PEERCRED = 17;
export const SO_ATTACH_FILTER = 26;
export const SO_ATTACH_REUSEPORT_CBPF = 51;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const SO_PEERPIDFD = 77;
export const SCM_RIGHTS = 1;
export const MSG_NOSIGNAL = 0x4000;
export const MSG_DONTWAIT = 0x40;
export const MSG_CMSG_CLOEXEC = 0x4000_0000;

// <linux/if_packet.h>
export const SOL_PACKET = 263;
export const PACKET_ADD_MEMBERSHIP = 1;
export const PACKET_RX_RING = 5;
export const PACKET_STATISTICS = 6;
export const PACKET_COPY_THRESH = 7;
export const PACKET_VERSION = 10;
export const PACKET_VNET_HDR = 15;
export const PACKET_IGNORE_OUTGOING = 23;
export const PACKET_MR_PROMISC = 1;
export const PACKET_MR_ALLMULTI = 2;
export const TPACKET_V2 = 1;
export const TP_STATUS_KERNEL = 0;
export const TP_STATUS_USER = 1;
export const TP_STATUS_COPY = 2;

// <linux/if_ether.h>
export const ETH_P_ALL = 0x0003;

// <linux/virtio_net.h>
export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
export const VIRTIO_NET_HDR_F_DATA_VALID = 2;
export const VIRTIO_NET_HDR_GSO_NONE = 0;
export const VIRTIO_NET_HDR_GSO_TCPV4 = 1;
export const VIRTIO_NET_HDR_GSO_TCPV6 = 4;
export const VIRTIO_NET_HDR_GSO_UDP_L4 = 5;
/** Beside the type: TCP's ECN. */
export const VIRTIO_NET_HDR_GSO_ECN = 0x80;

// <linux/in.h>, <linux/in6.h>, <linux/udp.h>
export const IPPROTO_IP = 0;
export const IPPROTO_UDP = 17;
export const IPPROTO_IPV6 = 41;
export const IP_TOS = 1;
export const IP_RECVTOS = 13;
export const IPV6_RECVTCLASS = 66;
export const IPV6_TCLASS = 67;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;

// <linux/sockios.h>
export const SIOCGIFFLAGS = 0x8913;
export const SIOCGIFMTU = 0x8921;
export const SIOCGIFHWADDR = 0x8927;
export const SIOCSIFFLAGS = 0x8914;
export const SIOCSIFMTU = 0x8922;
export const SIOCETHTOOL = 0x8946;
export const IFF_UP = 1;
export const IFF_RUNNING = 0x40;

// <linux/if_tun.h>
export const TUNSETIFF = 0x4004_54ca;
export const TUNSETPERSIST = 0x4004_54cb;
export const IFF_TAP = 2;
export const IFF_NO_PI = 0x1000;

// <poll.h>
export const POLLIN = 1;
export const POLLOUT = 4;
export const POLLERR = 8;

// <sys/timerfd.h>
export const CLOCK_MONOTONIC = 1;
export const TFD_NONBLOCK = 0o4000;
export const TFD_CLOEXEC = 0o2000000;

// <sys/eventfd.h>, <fcntl.h>, <sched.h>
export const EFD_NONBLOCK = 0o4000;
export const EFD_CLOEXEC = 0o2000000;
export const F_DUPFD = 0;
export const F_GETFL = 3;
export const F_SETFL = 4;
export const F_DUPFD_CLOEXEC = 1030;
export const F_SETPIPE_SZ = 1031;
export const F_ADD_SEALS = 1033;
export const F_SEAL_SEAL = 1;
export const F_SEAL_SHRINK = 2;
export const F_SEAL_GROW = 4;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
export const CLONE_NEWNET = 0x4000_0000;

// <sys/mman.h>
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 1;
export const MAP_PRIVATE = 2;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MFD_CLOEXEC = 1;
export const MFD_ALLOW_SEALING = 2;

// <asm-generic/unistd.h>
export const SYS_PIDFD_OPEN = 434;

// <errno.h>
export const EINTR = 4;
export const EAGAIN = 11;
export const ENOMEM = 12;
export const EINVAL = 22;
export const EADDRINUSE = 98;
export const EADDRNOTAVAIL = 99;
export const ENODEV = 19;
export const ENOBUFS = 105;
export const ECONNREFUSED = 111;

// <linux/prctl.h>
export const PR_SET_PDEATHSIG = 1;
export const PR_SET_NO_NEW_PRIVS = 38;
export const PR_SET_PTRACER = 0x59616d61;
