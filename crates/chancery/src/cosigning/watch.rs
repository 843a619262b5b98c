//! What is said of round after round: a loss once, and once that it is over.

use std::collections::BTreeSet;

use anyhow::Result;

use super::round::Fault;

/// What was lost when it was last looked.
#[derive(Default)]
pub(crate) struct Watch {
    is_lost: bool,
    ailing: BTreeSet<String>,
}

impl Watch {
    /// What to say after a round: its faults, if it came so far, and whether its checkpoint was kept.
    pub(crate) fn after(&mut self, faults: Option<&[Fault]>, kept: &Result<()>) -> Vec<String> {
        let mut said = Vec::new();
        match kept {
            // Its faults are in the error.
            Err(error) if !self.is_lost => said.push(format!("the quorum is lost: {error:#}")),
            Ok(()) if self.is_lost => said.push("the quorum is back".into()),
            _ => {}
        }
        let is_told = kept.is_err() && !self.is_lost;
        self.is_lost = kept.is_err();
        let Some(faults) = faults else { return said };
        let fresh = faults.iter().filter(|fault| !is_told && !self.ailing.contains(&fault.witness));
        said.extend(fresh.map(ToString::to_string));
        let ailing: BTreeSet<_> = faults.iter().map(|fault| fault.witness.clone()).collect();
        said.extend(
            self.ailing.difference(&ailing).map(|witness| format!("{witness} cosigns again")),
        );
        self.ailing = ailing;
        said
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    fn fault(witness: &str) -> Fault {
        Fault { witness: witness.into(), what: "it is away".into() }
    }

    const KEPT: Result<()> = Ok(());

    fn lost() -> Result<()> {
        Err(anyhow!("too few"))
    }

    #[test]
    fn a_loss_is_said_once_and_its_end_once() {
        let mut watch = Watch::default();
        let both = [fault("w1"), fault("w2")];
        let mut after = |faults: &[Fault], kept: &Result<()>| watch.after(Some(faults), kept);
        let nothing: [&str; 0] = [];
        assert_eq!(after(&[], &KEPT), nothing);
        assert_eq!(after(&both[..1], &KEPT), ["w1: it is away"]);
        assert_eq!(after(&both[..1], &KEPT), nothing);
        assert_eq!(after(&both, &lost()), ["the quorum is lost: too few"]);
        assert_eq!(after(&both, &lost()), nothing);
        assert_eq!(after(&both[1..], &KEPT), ["the quorum is back", "w1 cosigns again"]);
        assert_eq!(after(&[], &KEPT), ["w2 cosigns again"]);
    }

    #[test]
    fn a_round_that_asked_nobody_says_nothing_of_witnesses() {
        let mut watch = Watch::default();
        assert_eq!(watch.after(Some(&[fault("w1")]), &KEPT).len(), 1);
        assert_eq!(watch.after(None, &lost()), ["the quorum is lost: too few"]);
        assert_eq!(watch.after(Some(&[fault("w1")]), &KEPT), ["the quorum is back"]);
    }
}
