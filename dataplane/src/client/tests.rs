use super::*;
use etherparse::{Ipv4Header as Ip, Ipv6Header as Ipv6, PacketBuilder};
use proptest::prelude::*;

fn any_inner() -> impl Strategy<Value = (Ip, (u16, u16), Vec<u8>)> {
    let fields = (any::<u8>(), any::<u16>(), 2u8.., any::<bool>(), 0usize..=10);
    let addresses = any::<([u8; 4], [u8; 4])>();
    let payload = prop::collection::vec(any::<u8>(), 0..1500);
    (fields, addresses, any::<(u16, u16)>(), payload).prop_map(
        |(fields, addresses, ports, payload)| {
            let (dscp_ecn, id, ttl, dont_fragment, options) = fields;
            let ip = Ip {
                dscp: etherparse::IpDscp::try_new(dscp_ecn >> 2).unwrap(),
                ecn: etherparse::IpEcn::try_new(dscp_ecn & 3).unwrap(),
                identification: id,
                time_to_live: ttl,
                dont_fragment,
                source: addresses.0,
                destination: addresses.1,
                options: vec![1; options * 4][..].try_into().unwrap(),
                ..Default::default()
            };
            (ip, ports, payload)
        },
    )
}

fn emit(ip: &Ip, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ip(etherparse::IpHeaders::Ipv4(ip.clone(), Default::default()))
        .udp(ports.0, ports.1)
        .write(&mut packet, payload)
        .unwrap();
    packet
}

fn template(inner: &InnerHeader) -> CopyTemplate {
    match Template::new(inner) {
        Template::V4(template) => template,
        Template::V6(_) => panic!("IPv4"),
    }
}

fn any_ipv6() -> impl Strategy<Value = (Ipv6, (u16, u16), Vec<u8>)> {
    let fields = (any::<u8>(), 0u32..1 << 20, 2u8..);
    let addresses = any::<([u8; 16], [u8; 16])>();
    let payload = prop::collection::vec(any::<u8>(), 0..1500);
    (fields, addresses, any::<(u16, u16)>(), payload).prop_map(
        |((traffic_class, flow_label, hop_limit), addresses, ports, payload)| {
            let ip = Ipv6 {
                traffic_class,
                flow_label: flow_label.try_into().unwrap(),
                hop_limit,
                source: addresses.0,
                destination: addresses.1,
                ..Default::default()
            };
            (ip, ports, payload)
        },
    )
}

fn emit_ipv6(ip: &Ipv6, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    PacketBuilder::ip(etherparse::IpHeaders::Ipv6(ip.clone(), Default::default()))
        .udp(ports.0, ports.1)
        .write(&mut packet, payload)
        .unwrap();
    packet
}

proptest! {
    #[test]
    fn a_copy_over_ipv6_is_the_packet_sent_on_to_the_client(
        (ip, ports, payload) in any_ipv6(), client: ([u8; 16], u16)
    ) {
        let packet = emit_ipv6(&ip, ports, &payload);
        let inner = InnerHeader::read(&packet).unwrap();
        let address = IpAddr::from(client.0);
        let mut entry = ClientEntry::new(address, client.1, PortIndex(0), Mac([2, 0, 0, 0, 0, 1]));
        prop_assert!(!entry.is_resolved());
        entry.set_next_hop(Some(Mac([2, 0, 0, 0, 0, 9])));
        prop_assert!(entry.is_resolved());
        let template = Template::new(&inner);
        prop_assert!(template.suits(&entry));
        let ipv4 = ClientEntry::new(Ipv4Addr::LOCALHOST.into(), 1, PortIndex(0), Mac::NONE);
        prop_assert!(!template.suits(&ipv4));
        let Template::V6(template) = template else { panic!("IPv6") };
        let mut headers = [0xaa; COPY_HEADERS_IPV6];
        entry.fill_ipv6(&mut headers, &template);
        let forwarded = Ipv6 {
            hop_limit: ip.hop_limit - 1,
            destination: client.0,
            ..ip
        };
        let mut expected = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 0x86, 0xdd];
        expected.extend(emit_ipv6(&forwarded, (ports.0, client.1), &payload));
        prop_assert_eq!([&headers[..], &payload].concat(), expected);
    }

    #[test]
    fn a_copy_is_the_packet_sent_on_to_the_client((ip, ports, payload) in any_inner(), client: ([u8; 4], u16)) {
        let packet = emit(&ip, ports, &payload);
        let inner = InnerHeader::read(&packet).unwrap();
        let mut entry = ClientEntry::new(Ipv4Addr::from(client.0).into(), client.1, PortIndex(0), Mac([2, 0, 0, 0, 0, 1]));
        prop_assert!(!entry.is_resolved());
        entry.set_next_hop(Some(Mac([2, 0, 0, 0, 0, 9])));
        prop_assert!(entry.is_resolved());
        let mut headers = [0xaa; COPY_HEADERS];
        entry.fill(&mut headers, &template(&inner));
        // The same, built by etherparse from scratch.
        let forwarded = Ip {
            destination: client.0,
            time_to_live: ip.time_to_live - 1,
            options: Default::default(),
            ..ip
        };
        let mut expected = vec![2, 0, 0, 0, 0, 9, 2, 0, 0, 0, 0, 1, 8, 0];
        expected.extend(emit(&forwarded, (ports.0, client.1), &payload));
        prop_assert_eq!([&headers[..], &payload].concat(), expected);
    }

    #[test]
    fn no_checksum_stays_none((ip, ports, payload) in any_inner()) {
        let packet = emit(&ip, ports, &payload);
        let inner = InnerHeader { udp_checksum: 0, ..InnerHeader::read(&packet).unwrap() };
        let mut headers = [0; COPY_HEADERS];
        ClientEntry::new(Ipv4Addr::new(10, 9, 1, 2).into(), 5004, PortIndex(0), Mac::NONE)
            .fill(&mut headers, &template(&inner));
        prop_assert_eq!(&headers[40..42], [0, 0]);
    }
}
