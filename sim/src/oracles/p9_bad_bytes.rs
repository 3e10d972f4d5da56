//! P9, bad bytes harm no one: whatever a client sends ends in valid frames or in one BYE with
//! a known number. That others notice nothing is what all other oracles see, and who keeps the
//! rules is never blamed for breaking one: the node reads and writes well-formed bytes right.

use crate::history::{Entry, Failure, HostileEnd, What};
use crate::plan::Plan;
use multibeam_wire::CloseCode;

const ORACLE: &str = "P9";

/// Judges a history.
#[must_use]
pub fn judge(plan: &Plan, history: &[Entry]) -> Vec<Failure> {
    let allowed = Allowed::by(plan);
    for entry in history {
        if let What::Blamed { client, error } = &entry.what {
            let detail = format!("client {client}, at {} us: {error}", entry.time_us);
            return vec![Failure::new(ORACLE, detail)];
        }
        let What::HostileEnd(end) = &entry.what else { continue };
        if let Err(detail) = check(end, allowed) {
            let detail = format!("hostile {} that ended at {} us {detail}: {end:?}", end.who, entry.time_us);
            return vec![Failure::new(ORACLE, detail)];
        }
    }
    Vec::new()
}

/// What a plan allows besides one BYE.
#[derive(Clone, Copy, Debug, Default)]
struct Allowed {
    /// A kernel or a full node may turn a connection away without a whole word.
    turned_away: bool,
    /// A node may cut off who goes on talking after BYE.
    cut_off: bool,
}

impl Allowed {
    fn by(plan: &Plan) -> Self {
        let faults = ["Aborted", "RegisterFails", "OutOfDescriptors"];
        let faults = plan.kernel.iter().any(|(name, _)| faults.contains(&name.as_str()));
        let turned_away = faults || plan.host.descriptors < 1024;
        Self { turned_away, cut_off: plan.node.linger_bytes_max < 65_536 }
    }
}

fn check(end: &HostileEnd, allowed: Allowed) -> Result<(), &'static str> {
    if end.broken.is_some() {
        return Err("got what no node may send");
    }
    if end.byes.len() > 1 {
        return Err("got two BYEs");
    }
    if end.byes.iter().any(|code| CloseCode::from_number((*code).into()).is_none()) {
        return Err("got a BYE of no known number");
    }
    if end.disturbed || end.excused || (allowed.turned_away && end.frames == 0 && end.closed) {
        return Ok(());
    }
    if !end.closed && end.byes.is_empty() {
        return Err("got neither BYE nor end in time");
    }
    if allowed.cut_off && end.closed {
        return Ok(());
    }
    if end.rest > 0 {
        return Err("got half a frame");
    }
    let half_close = end.who.ends_with("HalfClose");
    if end.byes.is_empty() && !half_close {
        return Err("was cut off without BYE");
    }
    if end.unanswered {
        return Err("did not get its answer");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> HostileEnd {
        HostileEnd {
            who: "0 Silence".to_owned(),
            frames: 1,
            byes: vec![301],
            closed: true,
            ..HostileEnd::default()
        }
    }

    #[test]
    fn one_bye_is_fine() {
        assert_eq!(check(&good(), Allowed::default()), Ok(()));
    }

    #[test]
    fn anything_else_is_not() {
        let bad: [fn(&mut HostileEnd); 7] = [
            |end| end.broken = Some("x".to_owned()),
            |end| end.byes.push(0),
            |end| end.byes = vec![999],
            |end| end.byes.clear(),
            |end| end.rest = 3,
            |end| end.unanswered = true,
            |end| (end.closed, end.byes) = (false, Vec::new()),
        ];
        for (at, spoil) in bad.iter().enumerate() {
            let mut end = good();
            spoil(&mut end);
            assert!(check(&end, Allowed::default()).is_err(), "{at}");
        }
    }

    #[test]
    fn blame_is_a_failure() {
        let plan = Plan::of(1);
        let blamed = What::Blamed { client: 1, error: "x".to_owned() };
        assert_eq!(judge(&plan, &crate::oracles::fixture::history([blamed])).len(), 1);
    }

    #[test]
    fn a_fault_excuses_silence_but_no_broken_frame() {
        let end = HostileEnd { disturbed: true, ..HostileEnd::default() };
        assert_eq!(check(&end, Allowed::default()), Ok(()));
        let end = HostileEnd { disturbed: true, broken: Some("x".to_owned()), ..HostileEnd::default() };
        assert!(check(&end, Allowed::default()).is_err());
    }

    #[test]
    fn who_is_turned_away_at_the_door_needs_no_word() {
        let end = HostileEnd { closed: true, ..HostileEnd::default() };
        assert_eq!(check(&end, Allowed { turned_away: true, cut_off: false }), Ok(()));
        assert!(check(&end, Allowed::default()).is_err());
    }
}
