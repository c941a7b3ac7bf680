use super::Topology;

const GOOD: &str = r#"
name = "two"
routers = ["a", "b"]
host = [{ name = "s", router = "a" }, { name = "c", router = "b" }]
[[link]]
between = ["a", "b"]
delay = "1ms"
[[session]]
name = "tv"
source = "s"
clients = ["c"]
deadline = "1s"
[[event]]
at = "1s"
link = ["b", "a"]
loss = "100%"
for = "1s"
"#;

fn error(text: &str) -> String {
    Topology::parse("two.toml", text).unwrap_err().to_string()
}

#[test]
fn a_link_and_an_event_carry_their_impairment_beside_their_own_keys() {
    let topology = Topology::parse("two.toml", GOOD).unwrap();
    assert_eq!(
        topology.links[0].settings.impair.delay.as_deref(),
        Some("1ms")
    );
    assert_eq!(topology.events[0].impair.loss.as_deref(), Some("100%"));
    assert_eq!(
        topology.sessions[0].settings.deadline.as_deref(),
        Some("1s")
    );
}

#[test]
fn an_unknown_key_is_named() {
    let error = error(&GOOD.replace("delay =", "latency ="));
    assert!(
        error.contains("latency") && error.contains("line"),
        "{error}"
    );
}

#[test]
fn everything_that_is_wrong_is_said_at_once() {
    let bad = GOOD
        .replace("\"1ms\"", "\"1\"")
        .replace("clients = [\"c\"]", "clients = [\"d\", \"s\"]")
        .replace("link = [\"b\", \"a\"]", "kill = \"x\"")
        .replace("router = \"b\"", "router = \"z\"")
        .replace("between = [\"a\", \"b\"]", "between = [\"a\", \"a\"]");
    insta::assert_snapshot!(error(&bad));
}
