//! A stranger's advert, query or reply: refused, or a profile that its own encoding gives back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use prost::Message;
use protocol::{
    Signed, UnixMillis,
    advert::{Advert, AdvertQuery, AdvertReply, Profile},
    generate::Bounded,
};

/// Before the expiry of the seed in `seeds/advert`.
const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

fuzz_target!(|bytes: &[u8]| {
    let _ = AdvertQuery::decode_bounded(bytes).map(|query| query.nodes());
    let _ = AdvertReply::decode_bounded(bytes).map(|reply| reply.adverts());
    if let Ok(signed) = Signed::<Advert>::decode(bytes) {
        let _ = signed.verify(NOW);
    }
    let Ok(advert) = Advert::decode(bytes) else {
        return;
    };
    let Ok(profile) = Profile::try_from(&advert) else {
        return;
    };
    let again = Profile::try_from(&Advert::fitting(&profile));
    assert!(again.is_ok(), "what was accepted can be said again");
    assert_eq!(Profile::try_from(&Advert::from(&profile)), Ok(profile));
});
