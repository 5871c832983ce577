//! Where Cloudflare is asked to make the objects of gateways: near the clients that a request's continent says. And where it
//! is asked to keep what is stored, or has to keep it.
//!
//! Each place that the operator names has gateways of its own. Who comes from a continent goes to the nearest of these
//! places; which that is stands here, as far as places are apart on the map.

use std::str::FromStr;

/// Cloudflare's location hints, in the order in which they are numbered: a number never changes.
pub const HINTS: [&str; 9] = ["wnam", "enam", "sam", "weur", "eeur", "apac", "oc", "afr", "me"];

/// Continents as requests have them, and the places of each, the nearest first.
const NEAREST: [(&str, [&str; 9]); 7] = [
    ("AF", ["afr", "weur", "me", "eeur", "enam", "sam", "apac", "wnam", "oc"]),
    ("AN", ["oc", "sam", "apac", "afr", "wnam", "enam", "weur", "me", "eeur"]),
    ("AS", ["apac", "me", "oc", "eeur", "weur", "wnam", "enam", "afr", "sam"]),
    ("EU", ["weur", "eeur", "me", "enam", "wnam", "afr", "apac", "sam", "oc"]),
    ("NA", ["enam", "wnam", "sam", "weur", "eeur", "apac", "oc", "me", "afr"]),
    ("OC", ["oc", "apac", "wnam", "enam", "me", "sam", "weur", "eeur", "afr"]),
    ("SA", ["sam", "enam", "wnam", "weur", "afr", "eeur", "me", "oc", "apac"]),
];

/// A place, by its number in [`HINTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u32);

impl Place {
    /// The place of a hint.
    pub fn of_hint(hint: &str) -> Option<Self> {
        HINTS.iter().zip(0..).find(|(known, _)| **known == hint).map(|(_, n)| Self(n))
    }

    /// Its hint.
    pub fn hint(self) -> &'static str {
        HINTS.get(self.0 as usize).copied().unwrap_or_default()
    }

    /// Its number.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The place of a number.
    pub fn numbered(number: u32) -> Option<Self> {
        HINTS.get(number as usize).map(|_| Self(number))
    }
}

/// What a partition's database is on Cloudflare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Store {
    /// A D1 database.
    #[default]
    D1,
    /// The SQLite of the partition's own object.
    Object,
}

impl FromStr for Store {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "d1" => Ok(Self::D1),
            "object" => Ok(Self::Object),
            _ => Err(()),
        }
    }
}

/// What Cloudflare keeps objects within: where they run, and where what they keep is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Jurisdiction {
    /// The European Union.
    Eu,
    /// The United States.
    Us,
    /// What FedRAMP allows.
    Fedramp,
}

impl Jurisdiction {
    /// Its name at Cloudflare.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Eu => "eu",
            Self::Us => "us",
            Self::Fedramp => "fedramp",
        }
    }

    /// The one of a name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Eu, Self::Us, Self::Fedramp].into_iter().find(|one| one.name() == name)
    }
}

/// The one of `places` that is nearest to a continent; the first where that is not known, none where there are none.
pub fn nearest(places: &[Place], continent: Option<&str>) -> Option<Place> {
    let known = NEAREST.iter().find(|(known, _)| Some(*known) == continent).map(|(_, hints)| hints);
    let by_distance = known.into_iter().flatten().filter_map(|hint| Place::of_hint(hint));
    by_distance.into_iter().find(|place| places.contains(place)).or_else(|| places.first().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_continent_has_a_nearest_place_of_any() {
        for (continent, hints) in NEAREST {
            let mut sorted = hints;
            sorted.sort_unstable();
            let mut all = HINTS;
            all.sort_unstable();
            assert_eq!(sorted, all, "{continent} names each place once");
            let places = HINTS.map(|hint| Place::of_hint(hint).unwrap());
            assert_eq!(nearest(&places, Some(continent)).unwrap().hint(), hints[0]);
        }
        let places = ["apac", "enam"].map(|hint| Place::of_hint(hint).unwrap());
        let hint = |continent| nearest(&places, continent).map(Place::hint);
        assert_eq!(hint(Some("EU")), Some("enam"));
        assert_eq!(hint(Some("OC")), Some("apac"));
        assert_eq!(hint(None), Some("apac"), "the first that the operator names");
        assert_eq!(hint(Some("T1")), Some("apac"));
        assert_eq!(nearest(&[], Some("EU")), None);
    }
}
