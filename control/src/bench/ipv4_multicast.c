/* SPDX-License-Identifier: Apache-2.0
 *
 * A contender: the way of DPDK's ipv4_multicast sample, as its guide describes it. A packet goes to many by chaining a
 * new header before its data, which nobody copies:
 *
 *   clone  each output packet has an indirect buffer of its own that points to the data, the last one the packet itself
 *   count  each output packet points to the packet's own buffer, whose references are counted
 *
 * What goes out has a new Ethernet header, and is otherwise as it came in. Here all outputs are one port, net_null, in
 * bursts of 32.
 *
 * Usage: EAL options -- clone|count OUTPUTS SIZE. Then a line with a number of milliseconds has it measure for as long.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <rte_byteorder.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_ether.h>
#include <rte_fbk_hash.h>
#include <rte_ip.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>

#define PORT 0
#define BURST 32
#define BUFFERS 8192
#define CACHE 256
#define DESCRIPTORS 512
#define GROUP RTE_IPV4(239, 1, 0, 1)
struct output {
	struct rte_mempool *headers, *clones;
	struct rte_fbk_hash_table *groups;
	struct rte_ether_addr mac;
	int by_clone;
	unsigned int outputs;
	struct rte_mbuf *frames[BURST];
	uint16_t waiting;
	uint64_t sent;
};

static uint64_t core_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static uint64_t wall_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static void flush(struct output *out)
{
	uint16_t sent = rte_eth_tx_burst(PORT, 0, out->frames, out->waiting);
	rte_pktmbuf_free_bulk(out->frames + sent, out->waiting - sent);
	out->sent += sent;
	out->waiting = 0;
}

/* A packet with room for a header of its own before `data`. */
static struct rte_mbuf *with_header(struct output *out, struct rte_mbuf *data)
{
	struct rte_mbuf *header = rte_pktmbuf_alloc(out->headers);
	if (header == NULL)
		return NULL;
	header->next = data;
	header->pkt_len = data->pkt_len;
	header->nb_segs = (uint16_t)(data->nb_segs + 1);
	header->port = data->port;
	return header;
}

static void send_to(struct output *out, struct rte_mbuf *packet, const struct rte_ether_addr *to)
{
	struct rte_ether_hdr *ethernet =
		(struct rte_ether_hdr *)rte_pktmbuf_prepend(packet, (uint16_t)sizeof(*ethernet));
	ethernet->dst_addr = *to;
	ethernet->src_addr = out->mac;
	ethernet->ether_type = RTE_BE16(RTE_ETHER_TYPE_IPV4);
	out->frames[out->waiting++] = packet;
	if (out->waiting == BURST)
		flush(out);
}

static void multicast(struct output *out, struct rte_mbuf *packet)
{
	const struct rte_ipv4_hdr *ip =
		(const struct rte_ipv4_hdr *)rte_pktmbuf_adj(packet, sizeof(struct rte_ether_hdr));
	uint32_t group = rte_be_to_cpu_32(ip->dst_addr);
	if (!RTE_IS_IPV4_MCAST(group) || rte_fbk_hash_lookup(out->groups, group) <= 0) {
		rte_pktmbuf_free(packet);
		return;
	}
	struct rte_ether_addr to = { { 0x01, 0x00, 0x5e, (group >> 16) & 0x7f, (uint8_t)(group >> 8),
				       (uint8_t)group } };
	unsigned int last = out->outputs - 1;
	if (!out->by_clone)
		rte_pktmbuf_refcnt_update(packet, (int16_t)last);
	for (unsigned int i = 0; i <= last; i++) {
		int is_clone = out->by_clone && i < last;
		struct rte_mbuf *data = is_clone ? rte_pktmbuf_clone(packet, out->clones) : packet;
		struct rte_mbuf *frame = data;
		if (data != NULL && (is_clone || !out->by_clone))
			frame = with_header(out, data);
		if (frame != NULL)
			send_to(out, frame, &to);
		else if (data != NULL)
			rte_pktmbuf_free(data);
	}
}

static void measure(struct output *out, uint64_t ms)
{
	uint64_t end = wall_ns() + ms * 1000000, from = core_ns(), before = out->sent;
	while (wall_ns() < end) {
		struct rte_mbuf *packets[BURST];
		uint16_t received = rte_eth_rx_burst(PORT, 0, packets, BURST);
		for (uint16_t i = 0; i < received; i++)
			multicast(out, packets[i]);
	}
	flush(out);
	printf("{\"packets\":%" PRIu64 ",\"cycles\":0,\"ns\":%" PRIu64 ",\"set_aside\":0.0}\n", out->sent - before,
	       core_ns() - from);
	fflush(stdout);
}

/* net_null hands out buffers as they lie in the pool: packets for the group are written into all of them. */
static int write_packets(struct rte_mempool *pool)
{
	static struct rte_mbuf *all[BUFFERS];
	unsigned int count = 0;
	while (count < BUFFERS && (all[count] = rte_pktmbuf_alloc(pool)) != NULL) {
		struct rte_ipv4_hdr *ip = rte_pktmbuf_mtod_offset(all[count], struct rte_ipv4_hdr *,
								  sizeof(struct rte_ether_hdr));
		memset(ip, 0, sizeof(*ip));
		ip->dst_addr = rte_cpu_to_be_32(GROUP);
		count++;
	}
	rte_pktmbuf_free_bulk(all, count);
	return count == BUFFERS ? 0 : -1;
}

static int set_up(struct output *out, uint16_t size)
{
	uint16_t room = (uint16_t)RTE_ALIGN_CEIL(size + RTE_PKTMBUF_HEADROOM, 64);
	struct rte_mempool *packets = rte_pktmbuf_pool_create("packets", BUFFERS, CACHE, 0, room, SOCKET_ID_ANY);
	uint16_t header_room = RTE_PKTMBUF_HEADROOM + 64;
	out->headers = rte_pktmbuf_pool_create("headers", BUFFERS, CACHE, 0, header_room, SOCKET_ID_ANY);
	out->clones = rte_pktmbuf_pool_create("clones", BUFFERS, CACHE, 0, 0, SOCKET_ID_ANY);
	struct rte_fbk_hash_params groups = { .name = "groups", .entries = 1024, .entries_per_bucket = 4 };
	out->groups = rte_fbk_hash_create(&groups);
	if (packets == NULL || out->headers == NULL || out->clones == NULL || out->groups == NULL)
		return -1;
	struct rte_eth_conf conf;
	memset(&conf, 0, sizeof(conf));
	if (rte_fbk_hash_add_key(out->groups, GROUP, 1) < 0 || rte_eth_dev_configure(PORT, 1, 1, &conf) < 0 ||
	    rte_eth_rx_queue_setup(PORT, 0, DESCRIPTORS, SOCKET_ID_ANY, NULL, packets) < 0 ||
	    rte_eth_tx_queue_setup(PORT, 0, DESCRIPTORS, SOCKET_ID_ANY, NULL) < 0 || rte_eth_dev_start(PORT) < 0 ||
	    rte_eth_macaddr_get(PORT, &out->mac) < 0)
		return -1;
	return write_packets(packets);
}

int main(int argc, char **argv)
{
	static struct output out;
	int used = rte_eal_init(argc, argv);
	if (used < 0 || argc - used != 4) {
		printf("usage: EAL options -- clone|count OUTPUTS SIZE: %s\n", rte_strerror(rte_errno));
		return 2;
	}
	argv += used;
	out.by_clone = strcmp(argv[1], "clone") == 0;
	out.outputs = (unsigned int)atoi(argv[2]);
	if (set_up(&out, (uint16_t)atoi(argv[3])) < 0) {
		printf("ipv4_multicast can't be set up: %s\n", rte_strerror(rte_errno));
		return 1;
	}
	printf("ready\n");
	fflush(stdout);
	char line[32];
	while (fgets(line, sizeof(line), stdin) != NULL)
		measure(&out, strtoull(line, NULL, 10));
	rte_eal_cleanup();
	return 0;
}
