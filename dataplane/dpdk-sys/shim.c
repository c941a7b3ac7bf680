/* SPDX-License-Identifier: Apache-2.0 */
#include "shim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <rte_cycles.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <rte_mempool.h>

/* Buffers that each thread keeps at hand: a few bursts. */
#define POOL_CACHE 256

const char *tc_strerror(int code) { return rte_strerror(code < 0 ? -code : code); }

_Static_assert(TC_MBUF_OURS >= offsetof(struct rte_mbuf, dynfield1) && TC_MBUF_OURS % 8 == 0,
	       "the bytes of an mbuf that are ours are dynamic fields");

int tc_eal_init(int argc, char **argv)
{
	static const struct rte_mbuf_dynfield ours = {
		.name = "treecast_payload",
		.size = TC_OURS_SIZE,
		.align = 8,
	};
	if (rte_eal_init(argc, argv) < 0)
		return -rte_errno;
	return rte_mbuf_dynfield_register_offset(&ours, TC_MBUF_OURS) < 0 ? -rte_errno : 0;
}

void tc_eal_cleanup(void) { rte_eal_cleanup(); }

int tc_thread_register(void) { return rte_thread_register() < 0 ? -rte_errno : 0; }

void tc_thread_unregister(void) { rte_thread_unregister(); }

int tc_device_probe(const char *devargs) { return rte_dev_probe(devargs); }

int tc_interface_check(const char *interface)
{
	if (if_nametoindex(interface) == 0)
		return -ENODEV;
	int fd = socket(AF_PACKET, SOCK_RAW, 0);
	if (fd < 0)
		return errno == EPERM ? -EPERM : 0;
	close(fd);
	return 0;
}

int tc_tap_open(const char *name, const uint8_t *mac)
{
	struct ifreq request;
	memset(&request, 0, sizeof(request));
	if (strlen(name) >= sizeof(request.ifr_name))
		return -ENAMETOOLONG;
	strcpy(request.ifr_name, name);
	/* An interface of that name that is there already, TAP or not, is somebody else's. */
	if (if_nametoindex(name) != 0)
		return -EEXIST;
	int tap = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (tap < 0)
		return -errno;
	request.ifr_flags = IFF_TAP | IFF_NO_PI;
	if (ioctl(tap, TUNSETIFF, &request) == 0) {
		request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
		memcpy(request.ifr_hwaddr.sa_data, mac, 6);
		if (ioctl(tap, SIOCSIFHWADDR, &request) == 0)
			return tap;
	}
	int code = -errno;
	close(tap);
	return code;
}

int tc_interface_set_mtu(const char *interface, uint16_t mtu)
{
	struct ifreq request;
	memset(&request, 0, sizeof(request));
	if (strlen(interface) >= sizeof(request.ifr_name))
		return -ENAMETOOLONG;
	strcpy(request.ifr_name, interface);
	request.ifr_mtu = mtu;
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0)
		return -errno;
	int code = ioctl(fd, SIOCSIFMTU, &request) == 0 ? 0 : -errno;
	close(fd);
	return code;
}

int tc_interface_state(uint32_t index, struct tc_interface *state)
{
	struct ifreq request;
	memset(&request, 0, sizeof(request));
	int fd = socket(AF_INET, SOCK_DGRAM, 0);
	if (fd < 0)
		return -errno;
	request.ifr_ifindex = (int)index;
	int code = ioctl(fd, SIOCGIFNAME, &request);
	if (code == 0)
		code = ioctl(fd, SIOCGIFMTU, &request);
	if (code == 0) {
		state->mtu = (uint32_t)request.ifr_mtu;
		code = ioctl(fd, SIOCGIFFLAGS, &request);
	}
	if (code == 0)
		state->running = (request.ifr_flags & IFF_RUNNING) != 0;
	else
		code = -errno;
	close(fd);
	return code;
}

/* Without hugepages no device reads the memory by itself, but a pool would still let no buffer cross a 4 KiB page: one
 * buffer to a page, and net_af_xdp, which counts on buffers side by side, would hand the kernel half of the pool. */
static struct rte_mempool *dense_pool(const char *name, unsigned int count, unsigned int cache, uint16_t private_size,
				      uint16_t data_room)
{
	struct rte_pktmbuf_pool_private layout;
	memset(&layout, 0, sizeof(layout));
	layout.mbuf_data_room_size = data_room;
	layout.mbuf_priv_size = private_size;
	unsigned int size = sizeof(struct rte_mbuf) + private_size + data_room;
	return rte_mempool_create(name, count, size, cache, sizeof(layout), rte_pktmbuf_pool_init, &layout,
				  rte_pktmbuf_init, NULL, SOCKET_ID_ANY,
				  RTE_MEMPOOL_F_NO_IOVA_CONTIG | RTE_MEMPOOL_F_NO_SPREAD);
}

struct rte_mempool *tc_pool_create(const char *name, unsigned int count, uint16_t private_size, uint16_t data_room,
				   int *code)
{
	unsigned int cache = count >= 4 * POOL_CACHE ? POOL_CACHE : 0;
	struct rte_mempool *pool =
		rte_eal_has_hugepages()
			? rte_pktmbuf_pool_create(name, count, cache, private_size, data_room, SOCKET_ID_ANY)
			: dense_pool(name, count, cache, private_size, data_room);
	*code = pool == NULL ? -rte_errno : 0;
	return pool;
}

unsigned int tc_pool_in_use(const struct rte_mempool *pool) { return rte_mempool_in_use_count(pool); }

int tc_mbuf_alloc_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count)
{
	return rte_pktmbuf_alloc_bulk(pool, mbufs, count);
}

int tc_mbuf_take_bulk(struct rte_mempool *pool, struct rte_mbuf **mbufs, unsigned int count)
{
	/* Whatever goes back to its pool has one reference and one segment (rte_mbuf_raw_alloc relies on it as well). */
	return rte_mempool_get_bulk(pool, (void **)mbufs, count);
}

void tc_mbuf_free_bulk(struct rte_mbuf **mbufs, unsigned int count) { rte_pktmbuf_free_bulk(mbufs, count); }

void tc_mbuf_free(struct rte_mbuf *mbuf) { rte_pktmbuf_free(mbuf); }

struct rte_mbuf *tc_mbuf_copy(const struct rte_mbuf *mbuf, struct rte_mempool *pool)
{
	struct rte_mbuf *copy = rte_pktmbuf_alloc(pool);
	if (copy == NULL)
		return NULL;
	uint32_t len = rte_pktmbuf_pkt_len(mbuf);
	if (len > rte_pktmbuf_tailroom(copy)) {
		rte_pktmbuf_free(copy);
		return NULL;
	}
	char *at = rte_pktmbuf_append(copy, (uint16_t)len);
	for (; mbuf != NULL; mbuf = mbuf->next) {
		memcpy(at, rte_pktmbuf_mtod(mbuf, const void *), rte_pktmbuf_data_len(mbuf));
		at += rte_pktmbuf_data_len(mbuf);
	}
	return copy;
}

int tc_port_find(const char *name, uint16_t *port) { return rte_eth_dev_get_port_by_name(name, port); }

int tc_port_info(uint16_t port, struct tc_port_info *info)
{
	struct rte_eth_dev_info dev;
	struct rte_ether_addr mac;
	int code = rte_eth_dev_info_get(port, &dev);
	if (code == 0)
		code = rte_eth_macaddr_get(port, &mac);
	if (code != 0)
		return code;
	memset(info, 0, sizeof(*info));
	strncpy(info->driver, dev.driver_name, sizeof(info->driver) - 1);
	memcpy(info->mac, mac.addr_bytes, sizeof(info->mac));
	info->multi_segs = (dev.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0;
	/* As ethdev counts: where the driver gives no MTU, a frame is an MTU, an Ethernet header and a checksum. */
	uint32_t most = dev.max_rx_pktlen - (RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN);
	info->max_mtu = dev.max_mtu != UINT16_MAX ? dev.max_mtu : most < UINT16_MAX ? (uint16_t)most : UINT16_MAX;
	info->interface = dev.if_index;
	info->rx_queues_max = dev.max_rx_queues;
	info->tx_queues_max = dev.max_tx_queues;
	info->socket = rte_eth_dev_socket_id(port);
	return 0;
}

int tc_port_configure(uint16_t port, const struct tc_port_conf *conf)
{
	struct rte_eth_conf dev;
	struct rte_eth_dev_info info;
	int code = rte_eth_dev_info_get(port, &info);
	if (code != 0)
		return code;
	memset(&dev, 0, sizeof(dev));
	/* The UDP source port of a tree packet tells its session: its packets stay together and in order. */
	uint64_t spread = (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP) & info.flow_type_rss_offloads;
	if (conf->rx_queues > 1 && (spread & RTE_ETH_RSS_UDP) != 0) {
		dev.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
		dev.rx_adv_conf.rss_conf.rss_hf = spread;
	}
	dev.rxmode.mtu = conf->mtu;
	/* No other offload: any of them may cost a driver its vector path. */
	dev.txmode.offloads = conf->multi_segs ? RTE_ETH_TX_OFFLOAD_MULTI_SEGS : 0;
	return rte_eth_dev_configure(port, conf->rx_queues, conf->tx_queues, &dev);
}

int tc_port_adjust_descriptors(uint16_t port, uint16_t *rx, uint16_t *tx)
{
	return rte_eth_dev_adjust_nb_rx_tx_desc(port, rx, tx);
}

int tc_port_rx_queue(uint16_t port, uint16_t queue, uint16_t descriptors, struct rte_mempool *pool)
{
	return rte_eth_rx_queue_setup(port, queue, descriptors, (unsigned int)rte_eth_dev_socket_id(port), NULL, pool);
}

int tc_port_tx_queue(uint16_t port, uint16_t queue, uint16_t descriptors)
{
	struct rte_eth_dev_info dev;
	int code = rte_eth_dev_info_get(port, &dev);
	if (code != 0)
		return code;
	/* Freeing in bulk presumes one pool and one reference: payloads have many. */
	dev.default_txconf.offloads &= ~RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
	return rte_eth_tx_queue_setup(port, queue, descriptors, (unsigned int)rte_eth_dev_socket_id(port),
				      &dev.default_txconf);
}

int tc_port_start(uint16_t port) { return rte_eth_dev_start(port); }

int tc_port_all_multicast(uint16_t port) { return rte_eth_allmulticast_enable(port); }

int tc_port_link(uint16_t port)
{
	struct rte_eth_link link;
	memset(&link, 0, sizeof(link));
	int code = rte_eth_link_get_nowait(port, &link);
	return code < 0 ? code : link.link_status == RTE_ETH_LINK_UP;
}

int tc_port_set_mtu(uint16_t port, uint16_t mtu) { return rte_eth_dev_set_mtu(port, mtu); }

int tc_port_stats(uint16_t port, struct tc_port_stats *stats)
{
	struct rte_eth_stats dev;
	int code = rte_eth_stats_get(port, &dev);
	if (code != 0)
		return code;
	*stats = (struct tc_port_stats){
		.rx_packets = dev.ipackets,
		.rx_bytes = dev.ibytes,
		.rx_missed = dev.imissed,
		.rx_errors = dev.ierrors,
		.rx_nombuf = dev.rx_nombuf,
		.tx_packets = dev.opackets,
		.tx_bytes = dev.obytes,
		.tx_errors = dev.oerrors,
	};
	return 0;
}

void tc_ports_close(void)
{
	uint16_t port;
	RTE_ETH_FOREACH_DEV(port) {
		(void)rte_eth_dev_stop(port);
		(void)rte_eth_dev_close(port);
	}
}

uint64_t tc_cycles(void) { return rte_rdtsc_precise(); }

uint16_t tc_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	uint16_t received = rte_eth_rx_burst(port, queue, mbufs, count);
	/* Headers are looked at next, and written before: a tree's end within 128 bytes, and begin within the 64 before. */
	for (uint16_t i = 0; i < received; i++) {
		char *data = rte_pktmbuf_mtod(mbufs[i], char *);
		rte_prefetch0(data);
		rte_prefetch0(data + RTE_CACHE_LINE_SIZE);
		rte_prefetch0(data - RTE_CACHE_LINE_SIZE);
	}
	return received;
}

uint16_t tc_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **mbufs, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, mbufs, count);
}
