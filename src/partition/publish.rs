//! An event on its way into a group: what is known of it already, what it costs, and whether there is room.

use super::log::fenced;
use super::{Partition, commit};
use crate::market::Part;
use crate::message::{GatewayId, Outcome, Publish, ToGateway, Verdict};
use crate::nostr::{Reason, refusal};
use crate::seam::{Effect, Millis};

impl Partition {
    /// Takes an event to be stored; what cannot wait for the store is answered at once.
    pub(super) fn publish(&mut self, from: GatewayId, publish: Publish, now: Millis, out: &mut Vec<Effect>) {
        let (to, id) = (publish.from, publish.new.event.id);
        if self.log.is_fenced() {
            let verdict = Verdict::Refused(commit::not_stored(&fenced()));
            return self.tell(from, ToGateway::Verdict(Outcome { to, id, verdict }));
        }
        if !publish.new.is_elsewhere && self.recent.holds(&publish.new) {
            let verdict = Verdict::Duplicate(refusal::already_have());
            return self.tell(from, ToGateway::Verdict(Outcome { to, id, verdict }));
        }
        if let Some(verdict) = self.ruled.verdict(&publish.new) {
            return self.tell(from, ToGateway::Verdict(Outcome { to, id, verdict }));
        }
        match self.queue(from, publish, now) {
            Ok(()) => self.commit_soon(now, out),
            Err(reason) => {
                self.tell(from, ToGateway::Verdict(Outcome { to, id, verdict: Verdict::Refused(reason) }));
            }
        }
    }

    fn queue(&mut self, gateway: GatewayId, publish: Publish, now: Millis) -> Result<(), Reason> {
        if let Some(error) = self.writer.turns_away(&publish.new, now) {
            return Err(commit::not_stored(error));
        }
        let rows = self.afford(&publish, now)?;
        let Publish { from, new, network, is_limited, .. } = publish;
        let answers = new.part.as_ref().filter(|part| Part::is_answer(part));
        let urgent = answers.is_some_and(|part| self.writer.holds(&part.job));
        let used = network.filter(|_| is_limited).map(|network| self.networks.used_by(network).clone());
        self.writer.add(new, urgent, (gateway, from), used.as_ref())?;
        self.spend(network, rows);
        Ok(())
    }
}
