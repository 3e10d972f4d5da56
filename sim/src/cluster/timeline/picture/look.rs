//! How it looks: colours for light and dark, patterns, and the legend's words. Whatever has a colour has words
//! too, in the bar or as its title.

use crate::cluster::timeline::svg::Svg;
use crate::cluster::timeline::{Network, State};

/// Classes of bars and what the legend says of them, in its order.
pub(super) const CLASSES: &[(&str, &str)] = &[
    ("up", "up"),
    ("starting", "starts"),
    ("paused", "paused"),
    ("stopping", "stops"),
    ("down", "down"),
    ("disk", "disk fails"),
    ("leased", "holds its lease"),
    ("isolated", "knows it is isolated"),
    ("member", "member (tick: new epoch)"),
    ("outside", "no member"),
    ("leads", "leads the consensus (number: term)"),
    ("stands", "candidate"),
    ("follows", "follows"),
    ("learns", "has no vote"),
    ("served", "client is served"),
    ("stale", "client is told: not served"),
    ("waits", "a publish has no end for 500 ms"),
    ("apart", "network: apart"),
    ("oneway", "one way only"),
    ("held", "held back"),
    ("slow", "slow"),
];

pub(super) const fn class_of_state(state: State) -> &'static str {
    match state {
        State::Up => "up",
        State::Starting => "starting",
        State::Paused => "paused",
        State::Stopping => "stopping",
        State::Down(_) => "down",
        State::DiskFails => "disk",
        State::Leased => "leased",
        State::Isolated => "isolated",
        State::Member(_) => "member",
        State::Outside(_) => "outside",
        State::Leads(_) => "leads",
        State::Stands(_) => "stands",
        State::Follows(_) => "follows",
        State::Learns(_) => "learns",
        State::Served(_) => "served",
        State::Stale(_) => "stale",
        State::Waits => "waits",
    }
}

pub(super) const fn class_of_fault(kind: Network) -> &'static str {
    match kind {
        Network::Apart => "apart",
        Network::OneWay => "oneway",
        Network::Held => "held",
        Network::Slow => "slow",
    }
}

/// What a narrow bar says.
pub(super) fn short(state: State) -> String {
    match state {
        State::Member(epoch) | State::Outside(epoch) => epoch.to_string(),
        State::Leads(term) | State::Stands(term) | State::Follows(term) | State::Learns(term) => {
            term.to_string()
        }
        State::Leased => "lease".to_owned(),
        State::Isolated => "isolated".to_owned(),
        State::Down(_) => state.words().replace("down: ", ""),
        State::Served(node) => node.to_owned(),
        State::Stale(_) => "stale".to_owned(),
        State::Waits => "waits".to_owned(),
        State::Starting | State::Up | State::Paused | State::Stopping | State::DiskFails => state.words(),
    }
}

/// The style sheet and the patterns.
pub(super) fn definitions(svg: &mut Svg) {
    svg.words("style", &[], STYLE);
    svg.begin("defs", &[]);
    for (id, path) in [("stripes", "M-2,2 l4,-4 M0,8 l8,-8 M6,10 l4,-4"), ("dots", "M2,2 h1 M6,6 h1")] {
        let units = "userSpaceOnUse";
        svg.begin("pattern", &[("id", &id), ("patternUnits", &units), ("width", &8), ("height", &8)]);
        svg.empty("rect", &[("class", &id), ("width", &8), ("height", &8)]);
        svg.empty("path", &[("class", &format!("{id}-ink")), ("d", &path)]);
        svg.end();
    }
    svg.end();
}

const STYLE: &str = "
rect { shape-rendering: crispEdges }
text { fill: #222 }
.headline { font-size: 17px; font-weight: bold }
.name { font-weight: bold; font-size: 12px }
.quiet { fill: #666; font-size: 10px }
.lane { fill: #666; font-size: 10px; text-anchor: end }
.tick { fill: #666; font-size: 10px; text-anchor: middle }
.in { fill: #111; pointer-events: none }
.before { text-anchor: end }
.paper { fill: #ffffff }
.band { fill: #f4f5f7 }
.grid { stroke: #d9dce1 }
.epoch { stroke: #3b2f80; stroke-width: 1.5 }
.up { fill: #b4dfb8 }
.starting { fill: #e3f1e4; stroke: #7fb886; stroke-dasharray: 3 2 }
.stopping { fill: #f1e2a0 }
.paused { fill: url(#dots) }
.dots { fill: #f6cc85 }
.dots-ink { stroke: #d2913a; stroke-width: 1.2 }
.down, .full { fill: url(#stripes) }
.stripes { fill: #dcdde0 }
.stripes-ink { stroke: #bfc1c8; stroke-width: 1.5 }
.disk { fill: #b5371f }
.leased { fill: #93c4f0 }
.isolated { fill: #eda9cb }
.member { fill: #d3cbf2 }
.outside { fill: #ececf0; stroke: #a5a3b5; stroke-dasharray: 3 2 }
.leads { fill: #f2d35f }
.stands { fill: #fbf1cb; stroke: #c7a935; stroke-dasharray: 2 2 }
.follows { fill: #f3eedd }
.learns { fill: #f7f5ef; stroke: #bdb69d; stroke-dasharray: 2 4 }
.served { fill: #b5e0dc }
.stale { fill: #d9b99b; stroke: #8c6a47; stroke-dasharray: 3 2 }
.waits { fill: #cdd296 }
.apart { fill: #ee9488 }
.oneway { fill: #f5bd9d }
.held { fill: #dcbce8 }
.slow { fill: #c5d0de }
.missed { fill-opacity: 0.35; stroke: #777; stroke-dasharray: 4 3 }
.healed line { stroke: #1d7a3a; stroke-width: 1.5; stroke-dasharray: 6 4 }
.healed text { fill: #1d7a3a; font-weight: bold }
.failure line { stroke: #c1121f; stroke-width: 2 }
.failure text { fill: #c1121f; font-weight: bold }
.failed { fill: #a80f1a; font-size: 12px }
@media (prefers-color-scheme: dark) {
text { fill: #dfe1e6 }
.quiet, .lane, .tick { fill: #9aa0aa }
.in { fill: #f2f3f5 }
.paper { fill: #15171b }
.band { fill: #1c1f25 }
.grid { stroke: #343944 }
.epoch { stroke: #cfc6ff }
.up { fill: #2b6437 }
.starting { fill: #1e3324; stroke: #4f8a5b }
.stopping { fill: #6a5a18 }
.dots { fill: #7a4d10 }
.dots-ink { stroke: #b07a30 }
.stripes { fill: #33363d }
.stripes-ink { stroke: #4a4e57 }
.disk { fill: #ff6b4f }
.leased { fill: #1f5a94 }
.isolated { fill: #86306a }
.member { fill: #483f86 }
.outside { fill: #26262d; stroke: #6c6a7d }
.leads { fill: #7d6610 }
.stands { fill: #3c3517; stroke: #9c8630 }
.follows { fill: #2f2c22 }
.learns { fill: #211f19; stroke: #625c48 }
.served { fill: #1f5f5a }
.stale { fill: #5d452d; stroke: #a58460 }
.waits { fill: #585c1e }
.apart { fill: #93352a }
.oneway { fill: #85502f }
.held { fill: #6a417b }
.slow { fill: #44505f }
.missed { stroke: #999 }
.healed line { stroke: #5fd08a }
.healed text { fill: #5fd08a }
.failure line { stroke: #ff5a64 }
.failure text, .failed { fill: #ff7a82 }
}
";
