//! COUNT (NIP-45): exact, with registers where the NIP defines them.

use serde_json::json;

use crate::common::events::{Author, NOW};
use crate::common::world::World;

#[test]
fn counts_are_exact_and_count_no_event_twice() {
    let mut world = World::open_relay();
    let conn = world.client();
    for n in 0..7u16 {
        world.ask(conn, json!(["EVENT", Author::new(1).sign(1 + n % 2, NOW, &[&["t", "x"]], &n.to_string())]));
    }
    let cases = [
        (json!([{"kinds": [1]}]), 4),
        (json!([{"kinds": [1]}, {"#t": ["x"]}]), 7),
        (json!([{"kinds": [1], "limit": 2}]), 4),
        (json!([{"kinds": []}]), 0),
        (json!([{"kinds": [9]}, {"ids": []}]), 0),
    ];
    for (filters, count) in cases {
        let mut message = vec![json!("COUNT"), json!("c")];
        message.extend(filters.as_array().unwrap().clone());
        let answer = world.ask(conn, json!(message));
        assert_eq!(
            (answer.len(), &answer[0][0], &answer[0][2]["count"]),
            (1, &json!("COUNT"), &json!(count)),
            "{filters}"
        );
    }
    assert_eq!(world.stats()["subscriptions"], 0);
}

/// The registers, computed as the NIP says it, by other means.
#[test]
fn hyperloglog_registers() {
    let mut world = World::open_relay();
    let conn = world.client();
    let target = "ab".repeat(16) + "3c" + &"ab".repeat(15);
    let mut expected = [0u8; 256];
    for seed in 1..60 {
        let author = Author::new(seed);
        world.ask(conn, json!(["EVENT", author.sign(7, NOW, &[&["e", &target]], "+")]));
        let bits: String = author.key().as_bytes().iter().map(|byte| format!("{byte:08b}")).collect();
        let offset = 3 + 8; // hex digit 32 of the target is 3
        let register = usize::from_str_radix(&bits[offset * 8..offset * 8 + 8], 2).unwrap();
        let zeros = bits[offset * 8 + 8..].find('1').unwrap();
        expected[register] = expected[register].max(u8::try_from(zeros).unwrap() + 1);
    }
    let answer = world.ask(conn, json!(["COUNT", "c", {"#e": [target], "kinds": [7]}]));
    let hll: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(answer, [json!(["COUNT", "c", {"count": 59, "hll": hll}])]);
    // Where the NIP defines no offset there are none.
    for filters in
        [json!({"kinds": [7]}), json!({"#e": [target], "#p": [target]}), json!({"#e": [target, "cd".repeat(32)]})]
    {
        assert_eq!(world.ask(conn, json!(["COUNT", "c", filters]))[0][2].get("hll"), None, "{filters}");
    }
}

#[test]
fn a_count_is_refused_like_a_req() {
    let mut world = World::new(&[]);
    let conn = world.client();
    let locked = "auth-required: answer the AUTH challenge first (NIP-42)";
    assert_eq!(world.ask(conn, json!(["COUNT", "c", {}])), [json!(["CLOSED", "c", locked])]);
    let conn = world.agent(&Author::new(1));
    assert_eq!(world.ask(conn, json!(["COUNT", "c", {"kinds": "x"}]))[0][0], "CLOSED");
}
