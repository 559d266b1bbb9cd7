//! Newcomers from places that peers were cut off from.

use proptest::prelude::*;

use super::*;

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 7));

fn after(start: Instant, seconds: u64) -> Instant {
    start + Duration::from_secs(seconds)
}

#[test]
fn a_few_cut_offs_slow_nobody_down() {
    let (mut places, now) = (Places::default(), Instant::now());
    for _ in 0..3 {
        places.on_cut_off(HERE, now);
    }
    assert!((0..100).all(|_| places.lets_in(HERE, now)));
}

#[test]
fn each_further_one_doubles_the_pause() {
    let (mut places, now) = (Places::default(), Instant::now());
    for _ in 0..6 {
        places.on_cut_off(HERE, now);
    }
    // One, two, four seconds.
    assert!(places.lets_in(HERE, now));
    assert!(!places.lets_in(HERE, after(now, 3)));
    assert!(places.lets_in(HERE, after(now, 4)));
    for _ in 0..1000 {
        places.on_cut_off(HERE, now);
    }
    assert!(!places.lets_in(HERE, after(now, 60)));
    assert!(places.lets_in(HERE, after(now, 64)));
}

#[test]
fn others_are_not_meant() {
    let (mut places, now) = (Places::default(), Instant::now());
    let own: IpAddr = "2001:db8:1:2::7".parse().unwrap();
    for _ in 0..50 {
        places.on_cut_off(HERE, now);
        places.on_cut_off(own, now);
    }
    let blocked = ["203.0.113.7", "::ffff:203.0.113.7", "2001:db8:1:2:ffff::1"];
    let free = ["203.0.113.8", "2001:db8:1:3::7"];
    for text in blocked {
        let ip = text.parse().unwrap();
        places.lets_in(ip, now);
        assert!(!places.lets_in(ip, now), "{text}");
    }
    for text in free {
        let ip = text.parse().unwrap();
        places.lets_in(ip, now);
        assert!(places.lets_in(ip, now), "{text}");
    }
}

#[test]
fn it_is_forgotten() {
    let (mut places, now) = (Places::default(), Instant::now());
    for _ in 0..12 {
        places.on_cut_off(HERE, now);
    }
    let later = now + HALF_LIFE * 2;
    assert!(places.lets_in(HERE, later) && places.lets_in(HERE, later));
}

#[test]
fn the_table_is_bounded_and_keeps_the_guiltiest() {
    let (mut places, now) = (Places::default(), Instant::now());
    for _ in 0..9 {
        places.on_cut_off(HERE, now);
    }
    for n in 0..10_000u32 {
        places.on_cut_off(IpAddr::V4(Ipv4Addr::from_bits(n)), now);
    }
    assert_eq!(places.len(), MAX_PLACES);
    places.lets_in(HERE, now);
    assert!(!places.lets_in(HERE, now));
}

proptest! {
    /// However many come, and whatever was done there: one gets in within the longest pause, and
    /// no more than one in each pause.
    #[test]
    fn somebody_always_gets_in(cut_offs in 0..5_000u32, tries in prop::collection::vec(0..90_000u64, 1..60)) {
        let (mut places, start) = (Places::default(), Instant::now());
        for _ in 0..cut_offs {
            places.on_cut_off(HERE, start);
        }
        let (mut now, mut last) = (start, None::<Instant>);
        for millis in tries {
            now += Duration::from_millis(millis);
            let is_in = places.lets_in(HERE, now);
            let waited = last.map_or(LONGEST_PAUSE, |last| now - last);
            prop_assert!(is_in || waited < LONGEST_PAUSE);
            if is_in {
                last = Some(now);
            }
        }
    }
}
