//! Who may ask what over HTTP: the numbers are for everybody or for the relay's owner, and a job is shown to its parties as far
//! as they prove who they are (NIP-98). Of who asks for what everybody is told nothing is looked at.

use std::str::FromStr;

use super::{Api, Config, TurnedAway};
use crate::nostr::{PublicKey, Reason, http_auth, refusal};
use crate::seam::Millis;

/// Who is told the relay's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// Everybody.
    #[default]
    Public,
    /// Who proves an owner's key.
    Owners,
}

impl FromStr for Audience {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "public" => Ok(Self::Public),
            "owners" => Ok(Self::Owners),
            _ => Err(()),
        }
    }
}

/// Whether it matters who asks.
pub fn depends_on_key(config: &Config, api: Api) -> bool {
    match api {
        Api::Job(..) => true,
        Api::Stats | Api::Metrics | Api::History(_) => config.stats == Audience::Owners,
        Api::Handlers(_) | Api::Health => false,
    }
}

/// Whether the answer is for who asks alone.
pub fn is_for_one(config: &Config, api: Api) -> bool {
    matches!(api, Api::Job(_, Some(_))) || config.stats == Audience::Owners && depends_on_key(config, api)
}

/// What is asked by who has signed it in `authorization`, the header of that name, or by nobody in particular; `now` is in
/// milliseconds.
pub fn admit(
    config: &Config,
    api: Api,
    authorization: Option<&str>,
    asked: &http_auth::Asked<'_>,
    now: Millis,
) -> Result<Api, TurnedAway> {
    if !depends_on_key(config, api) || config.stats == Audience::Public && authorization.is_none() {
        return Ok(api);
    }
    let signed = http_auth::signed(authorization, asked, &config.relays, now / 1000);
    let key = signed.map_err(|reason| away(401, &reason))?.by;
    match api {
        Api::Job(..) => Ok(api.by(Some(key))),
        _ if is_owner(config, &key) => Ok(api),
        _ => Err(away(403, &refusal::not_the_owner())),
    }
}

/// Why who has proven a key, or none, may not see a job.
pub(super) fn hides_job(config: &Config, key: Option<&PublicKey>, is_party: bool) -> Option<TurnedAway> {
    let sees = config.stats == Audience::Public || is_party || key.is_some_and(|key| is_owner(config, key));
    (!sees).then(|| away(403, &refusal::not_a_party()))
}

fn is_owner(config: &Config, key: &PublicKey) -> bool {
    config.pubkey.as_ref() == Some(key)
}

fn away(status: u16, reason: &Reason) -> TurnedAway {
    TurnedAway { status, reason: reason.to_string(), retry_after_s: None }
}
