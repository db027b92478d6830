"""`all_biases`: every bias of every layer; its snapshots feed projection and magnitude."""

from beft.techniques.base import Technique, site_parts

TECHNIQUE = Technique(
    lambda shapes, sites, seed: site_parts(sites, shapes, sites.terms), biases_only=True
)
