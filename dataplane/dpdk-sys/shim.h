/* SPDX-License-Identifier: Apache-2.0
 *
 * The burst-level functions that treecast needs of DPDK, and the layout of an mbuf as this libdpdk has it.
 *
 * Most of DPDK's fast path is static inline and its structs change between releases: this file is compiled against
 * the installed headers, so the Rust side never sees either. Functions return 0 or a count, or -errno.
 */
#ifndef TREECAST_SHIM_H
#define TREECAST_SHIM_H

#include <stddef.h>
#include <stdint.h>

#include <rte_mbuf_core.h>

struct rte_mempool;

/* Bytes of each mbuf that are ours. */
#define TC_OURS_SIZE 16

/* Where the fields lie that Rust reads and writes in place: one call per field would cost more than the work. */
enum tc_layout {
	TC_MBUF_SIZE = sizeof(struct rte_mbuf),
	TC_MBUF_BUF_ADDR = offsetof(struct rte_mbuf, buf_addr),
	TC_MBUF_DATA_OFF = offsetof(struct rte_mbuf, data_off),
	TC_MBUF_REFCNT = offsetof(struct rte_mbuf, refcnt),
	TC_MBUF_NB_SEGS = offsetof(struct rte_mbuf, nb_segs),
	TC_MBUF_PORT = offsetof(struct rte_mbuf, port),
	TC_MBUF_OL_FLAGS = offsetof(struct rte_mbuf, ol_flags),
	TC_MBUF_PKT_LEN = offsetof(struct rte_mbuf, pkt_len),
	TC_MBUF_DATA_LEN = offsetof(struct rte_mbuf, data_len),
	TC_MBUF_BUF_LEN = offsetof(struct rte_mbuf, buf_len),
	TC_MBUF_NEXT = offsetof(struct rte_mbuf, next),
	/* Ours: the end of what DPDK leaves to its users ("dynamic fields"), where it gives others room last. */
	TC_MBUF_OURS = sizeof(struct rte_mbuf) - TC_OURS_SIZE,
	TC_HEADROOM = RTE_PKTMBUF_HEADROOM,
};

/* Flags of an mbuf whose data lies outside it. */
static const uint64_t TC_MBUF_ELSEWHERE = RTE_MBUF_F_EXTERNAL | RTE_MBUF_F_INDIRECT;

/* What a device is and can do. */
struct tc_port_info {
	char driver[64];
	uint8_t mac[6];
	/* Whether one packet may be several chained segments. */
	uint8_t multi_segs;
	/* Largest MTU that configuring takes. */
	uint16_t max_mtu;
	/* Index of the kernel interface below; 0 where there is none. */
	uint32_t interface;
	/* Most queues that it takes each way. */
	uint16_t rx_queues_max;
	uint16_t tx_queues_max;
	int socket;
};

/* What the kernel says of an interface. */
struct tc_interface {
	uint32_t mtu;
	/* Whether it is up and has a carrier. */
	uint8_t running;
};

/* How a device is set up. */
struct tc_port_conf {
	uint16_t rx_queues;
	uint16_t tx_queues;
	uint16_t mtu;
	uint8_t multi_segs;
};

/* The counters of a port. */
struct tc_port_stats {
	uint64_t rx_packets, rx_bytes, rx_missed, rx_errors, rx_nombuf;
	uint64_t tx_packets, tx_bytes, tx_errors;
};

const char *tc_strerror(int code);

int tc_eal_init(int argc, char **argv);
void tc_eal_cleanup(void);
int tc_thread_register(void);
void tc_thread_unregister(void);

int tc_device_probe(const char *devargs);
/* -ENODEV: no such interface; -EPERM: no right to open packet sockets; 0: neither. */
int tc_interface_check(const char *interface);
/* Of this process' network namespace; -ENODEV: it is gone. */
int tc_interface_state(uint32_t index, struct tc_interface *state);
int tc_interface_set_mtu(const char *interface, uint16_t mtu);

/* A TAP interface of that name and Ethernet address, down, in this thread's network namespace. Returns its descriptor,
 * which doesn't block; the interface goes with it. */
int tc_tap_open(const char *name, const uint8_t *mac);

/* NULL, with the reason in *code, if there is no memory for it. */
struct rte_mempool *tc_pool_create(const char *name, unsigned int count, uint16_t private_size, uint16_t data_room,
				   int *code);
unsigned int tc_pool_in_use(const struct rte_mempool *pool);

/* All or none. */
int tc_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);
/* The same, but of what their last use left in them only this is reset: one reference, one segment. */
int tc_mbuf_take_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count);
void tc_mbuf_free_bulk(struct rte_mbuf **mbufs, unsigned int count);
void tc_mbuf_free(struct rte_mbuf *mbuf);
/* One segment with a copy of all of the mbuf's, or NULL. */
struct rte_mbuf *tc_mbuf_copy(const struct rte_mbuf *mbuf, struct rte_mempool *pool);

int tc_port_find(const char *name, uint16_t *port);
int tc_port_info(uint16_t port, struct tc_port_info *info);
int tc_port_configure(uint16_t port, const struct tc_port_conf *conf);
/* Clamps both to what the device takes. */
int tc_port_adjust_descriptors(uint16_t port, uint16_t *rx, uint16_t *tx);
int tc_port_rx_queue(uint16_t port, uint16_t queue, uint16_t descriptors, struct rte_mempool *pool);
int tc_port_tx_queue(uint16_t port, uint16_t queue, uint16_t descriptors);
int tc_port_start(uint16_t port);
int tc_port_all_multicast(uint16_t port);
/* 1 up, 0 down. */
int tc_port_link(uint16_t port);
/* -ENOTSUP: the device has no such setting. */
int tc_port_set_mtu(uint16_t port, uint16_t mtu);
int tc_port_stats(uint16_t port, struct tc_port_stats *stats);
void tc_ports_close(void);

/* Cycles of the time stamp counter, read when all that came before is done. */
uint64_t tc_cycles(void);

uint16_t tc_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);
uint16_t tc_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count);

#endif
