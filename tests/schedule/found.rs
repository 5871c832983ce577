//! What random schedules have found and had mended, each by the shortest way there.

use serde_json::json;

use crate::common::Database;
use crate::common::events::Author;
use crate::common::world::World;

#[test]
fn an_event_that_landed_unknown_is_told_after_hibernation() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    world.ask(reader, json!(["REQ", "live", {}]));
    let lost = Author::new(1).note("lost");
    world.say(conn, json!(["EVENT", lost]));
    world.lose();
    assert_eq!(world.take(conn)[0][2], false);
    assert_eq!(world.waiting(), (0, 0), "nothing is on its way: this is hibernation");
    world.reset(false);
    world.settle();
    assert_eq!(world.ask(conn, json!(["EVENT", lost]))[0][2], true);
    assert_eq!(world.take(reader), [json!(["EVENT", "live", lost])]);
}

#[test]
fn an_event_that_lands_after_a_wake_is_not_told_to_who_has_read_it() {
    let mut world = World::open_relay();
    let (conn, reader) = (world.client(), world.client());
    let event = Author::new(1).note("late");
    world.say(conn, json!(["EVENT", event]));
    let late = world.next_commit().unwrap().to_vec();
    world.reset(false);
    world.settle();
    world.db.run(&late).unwrap();
    assert_eq!(world.ask(reader, json!(["REQ", "s", {}]))[0], json!(["EVENT", "s", event]));
    assert_eq!(world.ask(conn, json!(["EVENT", event]))[0][2], true);
    assert!(world.take(reader).is_empty());
}

#[test]
fn a_count_that_was_on_its_way_is_closed_after_a_reset() {
    let mut world = World::open_relay();
    let conn = world.client();
    world.say(conn, json!(["COUNT", "c", {}]));
    world.reset(false);
    world.settle();
    assert_eq!(world.take(conn).len(), 1);
}
