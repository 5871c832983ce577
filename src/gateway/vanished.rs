//! What goes at once when a key vanishes (NIP-62): what was live before and has yet to be sent. What is stored or being
//! read is the partition's.

use super::Gateway;
use super::conn::LIVE_BYTES;
use crate::budget::Share;
use crate::nostr::Event;
use crate::nostr::deletion::Vanished;

impl Gateway {
    /// A request to vanish was stored, and its OK is to come: nothing that it takes is sent any more.
    pub(super) fn vanish(&mut self, request: &Event) {
        let vanished = Vanished::by(request);
        if self.budget.used(Share::Backlogs) == 0 {
            return;
        }
        for backlog in
            self.conns.values_mut().flat_map(|state| state.subs.values_mut()).filter_map(|sub| sub.reading.as_mut())
        {
            let gone = backlog.live.extract_if(.., |(_, json)| vanished.takes_text(json));
            let bytes: usize = gone.map(|(_, json)| json.len() + LIVE_BYTES).sum();
            if let Some(memory) = &mut backlog.memory {
                memory.shrink(bytes);
            }
        }
    }
}
