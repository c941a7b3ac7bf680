use serde_json::Value;

use super::*;

fn cell(mode: Mode, p50: u64) -> Cell {
    Cell {
        mode: mode.name,
        pass: true,
        repair_us: (p50 > 0).then_some(Quantiles { p50, p99: 30 * p50 }),
        client_us: Some(Quantiles {
            p50: 300,
            p99: 2_000,
        }),
        nak: 90,
        copy: 7,
        parity: 3,
        overhead_percent: 12.34,
        problems: Vec::new(),
    }
}

#[test]
fn modes_stand_side_by_side() {
    let mut table = Table::default();
    let failed = Cell::failed(MODES[3], "node core ended".to_string());
    table.push(
        "quickstart",
        "5%",
        vec![cell(MODES[0], 500), cell(MODES[1], 0), failed],
    );
    insta::assert_snapshot!(table);
    assert_eq!(table.failed(), 1);
    let said = table.to_json();
    assert_eq!(said["pass"], false);
    assert_eq!(said["runs"][0]["topology"], "quickstart");
    assert_eq!(said["runs"][0]["repair_us"]["p99"], 15_000);
    assert_eq!(said["runs"][1]["repair_us"], Value::Null);
    assert_eq!(said["runs"][2]["problems"][0], "node core ended");
}

#[test]
fn a_mode_replaces_what_the_file_says() {
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../lab/diamond.toml");
    let mut topology = Topology::load(&file).unwrap();
    topology.sessions[0].settings.overlay = Some(Overlay::Copy);
    topology.sessions[0].settings.fec = Some(FEC);
    let pull = MODES[0].of(&with_loss(&topology, "7%"));
    assert_eq!(pull.sessions[0].settings.overlay, Some(Overlay::Pull));
    assert_eq!(pull.sessions[0].settings.fec, None);
    let losses = pull
        .links
        .iter()
        .map(|link| link.settings.impair.loss.as_deref());
    assert!(losses.eq([Some("7%"); 6]));
    let two = MODES[4].of(&topology);
    assert!(has_room(&two, PortKind::AfPacket));
    let quickstart = file.with_file_name("quickstart.toml");
    let two = MODES[4].of(&Topology::load(&quickstart).unwrap());
    assert!(!has_room(&two, PortKind::AfPacket));
}
