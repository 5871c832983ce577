//! What the engine counts is saved when no group takes it along: before the object sleeps, at the end, seldom.

use nexus::seam::Input;
use nexus::store::Bill;
use serde_json::json;

use crate::common::Database;
use crate::common::events::Author;
use crate::common::world::World;

/// Has a message refused.
fn refuse(world: &mut World) {
    let conn = world.client();
    world.ask(conn, json!(["EVENT", {"id": "x"}]));
}

fn refused(world: &mut World) -> u64 {
    world.stats()["events"]["rejected"]["invalid"].as_u64().unwrap()
}

#[test]
fn counts_survive_every_sleep() {
    let mut world = World::open_relay();
    for round in 1..=5 {
        for _ in 0..3 {
            refuse(&mut world);
        }
        world.pass(5);
        assert_eq!(refused(&mut world), 3 * round);
        world.reset(true);
        world.settle();
        assert_eq!(refused(&mut world), 3 * round, "after sleep {round}");
        world.now += 60_000;
    }
}

#[test]
fn counts_are_added_once_whatever_becomes_of_the_answer() {
    let mut world = World::open_relay();
    refuse(&mut world);
    world.now += 5000;
    world.input(Input::Timer);
    let save = world.next_commit().unwrap().to_vec();
    // The answer is lost with the memory; what was counted since is another save's.
    world.reset(true);
    world.settle();
    assert_eq!(refused(&mut world), 1);
    refuse(&mut world);
    world.pass(5);
    // It would land once more, late.
    assert!(world.db.run(&save).unwrap_err().is_fenced());
    world.reset(true);
    world.settle();
    assert_eq!(refused(&mut world), 2);
}

#[test]
fn a_save_that_failed_is_made_again() {
    for lands in [false, true] {
        let mut world = World::open_relay();
        refuse(&mut world);
        world.now += 5000;
        world.input(Input::Timer);
        world.broken = true;
        if lands {
            let save = world.next_commit().unwrap().to_vec();
            world.db.run(&save).unwrap();
        }
        world.answer_all();
        world.broken = false;
        refuse(&mut world);
        world.pass(200);
        world.reset(true);
        world.settle();
        assert_eq!(refused(&mut world), 2);
    }
}

#[test]
fn an_idle_relay_writes_one_row_a_minute_at_most_and_none_for_nothing() {
    let mut world = World::open_relay();
    world.pass(3600);
    assert_eq!((world.commits, world.timer), (0, None));
    for _ in 0..600 {
        refuse(&mut world);
        world.pass(1);
    }
    assert!((9..=11).contains(&world.commits), "{} writes in ten minutes", world.commits);
    world.pass(3600);
    let last = world.commits;
    world.pass(36_000);
    assert_eq!((world.commits, world.timer), (last, None));
}

#[test]
fn what_saving_costs_is_no_reason_to_save() {
    let mut world = World::open_relay();
    world.bill = Bill { read: 3, written: 1 };
    world.reset(true);
    world.settle();
    // Waking costs rows, too.
    world.pass(3600);
    assert_eq!((world.commits, world.timer), (0, None));
    let conn = world.client();
    world.ask(conn, json!(["REQ", "s", {"kinds": [1]}]));
    world.pass(3600);
    assert_eq!((world.commits, world.timer), (1, None));
}

#[test]
fn counts_go_with_groups_while_there_are_any() {
    let mut world = World::open_relay();
    let conn = world.client();
    for n in 0..60 {
        refuse(&mut world);
        world.ask(conn, json!(["EVENT", Author::new(1).note(&n.to_string())]));
        world.pass(2);
    }
    assert_eq!(world.commits, 60);
}

#[test]
fn counts_survive_a_graceful_end() {
    let mut world = World::open_relay();
    refuse(&mut world);
    world.input(Input::Leaving);
    world.settle();
    world.reset(true);
    world.settle();
    assert_eq!(refused(&mut world), 1);
}
