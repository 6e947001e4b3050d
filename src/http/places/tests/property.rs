//! Random histories, compared with a slow reading of the rules.

use super::*;

/// The connections with places, and their sources.
fn placed(places: &Places) -> Vec<(u32, Source)> {
    numbered(places, |class| matches!(class, Class::Placed { .. }))
}

fn numbered(places: &Places, of: impl Fn(&Class) -> bool) -> Vec<(u32, Source)> {
    let entries = (0..).zip(&places.entries);
    entries
        .filter(|(_, entry)| of(&entry.class))
        .map(|(number, entry)| (number, entry.source))
        .collect()
}

/// What rule 1 allows, read slowly: any of several sources with equally many places will do.
fn expected_victims(world: &World, newcomer: Source) -> Vec<u32> {
    let placed = placed(&world.places);
    let count = |source| placed.iter().filter(|(_, other)| *other == source).count();
    let since = |number: u32| world.crowd.waits.get(&number).copied().flatten();
    let is_settled = |number: u32| since(number).is_some_and(|since| since + SETTLED <= world.now);
    let own = count(newcomer);
    let mut best = placed.clone();
    best.retain(|(number, source)| is_settled(*number) && count(*source) >= own);
    let most = best.iter().map(|(_, source)| count(*source)).max();
    best.retain(|(_, source)| Some(count(*source)) == most);
    if best.iter().any(|(_, source)| *source == newcomer) {
        best.retain(|(_, source)| *source == newcomer);
    }
    let longest = |of: Source| {
        let its = best.iter().filter(|(_, source)| *source == of);
        its.map(|(number, _)| since(*number)).min()
    };
    best.iter()
        .filter(|(number, source)| Some(since(*number)) == longest(*source))
        .map(|(number, _)| *number)
        .collect()
}

#[test]
fn random_histories_follow_the_rules() {
    let mut random = 7_u64;
    let mut next = |below: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (random >> 33) % below
    };
    for _ in 0..200 {
        let capacity = 1 + next(12) as usize;
        let mut world = World::new(capacity);
        for _ in 0..300 {
            world.pass(next(400));
            let placed: Vec<u32> = world.crowd.waits.keys().copied().collect();
            let any = |at: u64| placed.get(at as usize % placed.len().max(1)).copied();
            match (next(6), any(next(64))) {
                (0 | 1, _) => arrive_and_compare(&mut world, next(4) as u32),
                (2, Some(number)) => world.begin_answer(number),
                (3, Some(number)) => world.answer(number),
                (4, Some(number)) => world.leave(number),
                (_, Some(number)) => {
                    let now = world.now;
                    world.places.take_ticket(number, now);
                }
                (_, None) => {}
            }
            for event in world.events() {
                if let Closed(number) = event {
                    world.crowd.waits.remove(&number);
                }
            }
            assert_consistent(&world.places);
        }
    }
}

/// A connection arrives from this source, and one that rule 1 allows is evicted for it.
fn arrive_and_compare(world: &mut World, from: u32) {
    world.settle();
    let is_next = world.places.newcomers.len() == 0 && world.places.is_full();
    let victims = expected_victims(world, source(from));
    world.events();
    world.arrive(from);
    let evicted = world.events().into_iter().find_map(|event| match event {
        Evicted(number) => Some(number),
        _ => None,
    });
    if is_next {
        match evicted {
            Some(number) => assert!(victims.contains(&number)),
            None => assert!(victims.is_empty(), "{victims:?}"),
        }
    }
}

/// What always holds.
fn assert_consistent(places: &Places) {
    let placed = placed(places);
    places.holders.assert_consistent(&placed);
    let count = |source| placed.iter().filter(|(_, other)| *other == source).count();
    let newcomers = numbered(places, |class| matches!(class, Class::Newcomer(_)));
    places.newcomers.assert_consistent(&newcomers, count);
    assert!(placed.len() <= places.capacity);
    assert!(newcomers.len() <= max_newcomers(places.capacity));
    let leaving = numbered(places, |class| matches!(class, Class::Leaving(_)));
    assert_eq!(leaving.len(), places.leaving.len());
    assert!(leaving.len() <= max_leaving(places.capacity));
    let free = numbered(places, |class| matches!(class, Class::Free));
    assert_eq!(free.len(), places.free.len());
    let passing = numbered(places, |class| {
        matches!(
            class,
            Class::Placed {
                has_ticket: true,
                ..
            }
        )
    });
    assert_eq!(passing.len(), places.passing);
    let (now, settled) = places.tickets();
    assert!(now + settled <= newcomers.len());
}
