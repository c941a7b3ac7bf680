/* SPDX-License-Identifier: Apache-2.0
 *
 * Has the kernel route a group from one interface to others, as a multicast routing daemon does, for as long as its
 * input is open.
 *
 * Usage: SOURCE GROUP IN OUT...
 */
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <linux/mroute.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	if (argc < 5 || argc - 3 > MAXVIFS) {
		fprintf(stderr, "usage: SOURCE GROUP IN OUT..., at most %d interfaces\n", MAXVIFS);
		return 2;
	}
	int router = socket(AF_INET, SOCK_RAW, IPPROTO_IGMP), on = 1;
	if (router < 0 || setsockopt(router, IPPROTO_IP, MRT_INIT, &on, sizeof(on)) < 0)
		return fail("this kernel routes no multicast");
	struct mfcctl route;
	memset(&route, 0, sizeof(route));
	for (int i = 3; i < argc; i++) {
		struct vifctl vif;
		memset(&vif, 0, sizeof(vif));
		vif.vifc_vifi = (vifi_t)(i - 3);
		vif.vifc_flags = VIFF_USE_IFINDEX;
		vif.vifc_threshold = 1;
		vif.vifc_lcl_ifindex = (int)if_nametoindex(argv[i]);
		if (setsockopt(router, IPPROTO_IP, MRT_ADD_VIF, &vif, sizeof(vif)) < 0)
			return fail(argv[i]);
		route.mfcc_ttls[i - 3] = i > 3;
	}
	inet_pton(AF_INET, argv[1], &route.mfcc_origin);
	inet_pton(AF_INET, argv[2], &route.mfcc_mcastgrp);
	if (setsockopt(router, IPPROTO_IP, MRT_ADD_MFC, &route, sizeof(route)) < 0)
		return fail(argv[2]);
	puts("ready");
	fflush(stdout);
	while (getchar() != EOF)
		;
	return 0;
}
