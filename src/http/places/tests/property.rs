//! Random histories, against a slow reading of the same rules.

use super::*;

/// What rule 1 says, read slowly.
fn expected_victims(world: &World, newcomer: u128) -> Vec<u32> {
    let places = &world.places;
    let count = |source: Source| {
        let is_its = |entry: &&Entry| entry.class == Class::Placed && entry.source == source;
        places.entries.iter().filter(is_its).count()
    };
    let own = count(Source(newcomer));
    let settled = |number: &u32| {
        let since = world.crowd.waits.get(number).copied().flatten();
        since.is_some_and(|since| since + SETTLED <= world.now)
    };
    let placed = (0..places.entries.len() as u32)
        .filter(|number| places.entries[*number as usize].class == Class::Placed)
        .filter(settled)
        .filter(|number| count(places.entries[*number as usize].source) >= own);
    let placed: Vec<u32> = placed.collect();
    let source = |number: &u32| places.entries[*number as usize].source;
    let Some(most) = placed.iter().map(|number| count(source(number))).max() else {
        return Vec::new();
    };
    let mut best: Vec<u32> = placed.clone();
    best.retain(|number| count(source(number)) == most);
    if best.iter().any(|number| source(number) == Source(newcomer)) {
        best.retain(|number| source(number) == Source(newcomer));
    }
    // Of several sources with equally many any will do: its longest-waiting one.
    let waits = |number: &u32| world.crowd.waits[number];
    let sources: Vec<Source> = best.iter().map(source).collect();
    let longest = |of: Source| {
        let its = best.iter().filter(|number| source(number) == of);
        its.map(waits).min()
    };
    best.iter()
        .filter(|number| {
            sources.contains(&source(number)) && Some(waits(number)) == longest(source(number))
        })
        .copied()
        .collect()
}

#[test]
fn any_history_ends_as_the_rules_have_it() {
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
                (0 | 1, _) => {
                    let source = u128::from(next(4));
                    world.settle();
                    let is_next = world.places.newcomers.is_empty() && world.places.is_full();
                    let victims = expected_victims(&world, source);
                    world.events();
                    world.arrive(source);
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
            check(&world.places);
        }
    }
}

/// What always holds.
fn check(places: &Places) {
    let of = |class: Class| {
        places
            .entries
            .iter()
            .filter(move |entry| entry.class == class)
    };
    assert_eq!(of(Class::Placed).count(), places.used);
    assert!(places.used <= places.capacity);
    assert_eq!(of(Class::Newcomer).count(), places.newcomers.len());
    assert!(places.newcomers.len() <= max_newcomers(places.capacity));
    assert_eq!(of(Class::Leaving).count(), places.leaving.len());
    assert!(places.leaving.len() <= max_leaving(places.capacity));
    assert_eq!(of(Class::Free).count(), places.free.len());
    let passing = of(Class::Placed).filter(|entry| entry.has_ticket).count();
    assert_eq!(passing, places.passing);
    let (now, settled) = places.tickets();
    assert!(now + settled <= places.newcomers.len());
    let waiting = places.sources.values().filter(|c| !c.newcomers.is_empty());
    assert_eq!(waiting.clone().count(), places.queue.len());
    assert_eq!(waiting.clone().count(), places.claims.len());
    for (as_many, count) in &places.waiting {
        let theirs = waiting.clone().filter(|c| u64::from(c.places) == *as_many);
        assert_eq!(theirs.map(|c| c.newcomers.len()).sum::<usize>(), *count);
    }
    assert_eq!(
        places.waiting.values().sum::<usize>(),
        places.newcomers.len()
    );
    let with_places = places.sources.values().filter(|counts| counts.places > 0);
    assert_eq!(with_places.count(), places.by_places.len());
    for (source, counts) in &places.sources {
        let its = of(Class::Placed)
            .filter(|entry| entry.source == *source)
            .count();
        assert_eq!(its, counts.places as usize);
        assert_eq!(counts.waiting.len(), its);
        assert!(its > 0 || !counts.newcomers.is_empty(), "it is forgotten");
        let is_known = counts.is_settled || counts.settles.is_some();
        assert_eq!(is_known, its > 0, "it will be looked at");
        let is_settled = places.settled.contains(&counted(counts.places, 0, *source));
        assert_eq!(counts.is_settled, is_settled);
    }
    assert_eq!(
        places.settled.len() + places.settling.len(),
        places.by_places.len()
    );
}
