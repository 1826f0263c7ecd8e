"""Small filters: two of 3 x 3 see what one of 5 x 5 sees, three what one of 7 x 7 sees, for fewer parameters.

    python launch.py --config configs/studies/small_filters.py --workdir runs/studies_small_filters

Simonyan and Zisserman 2015, "Very Deep Convolutional Networks for Large-Scale Image Recognition", section 2.3. With C
channels in and out a layer of 5 x 5 has 25 C^2 weights, two of 3 x 3 have 18 C^2; one of 7 x 7 has 49 C^2, three of
3 x 3 have 27 C^2, and each costs as many multiply-accumulates per pixel. The networks end in maps of scores, so that
all their parameters are filters. Five seeds, each with its own 200 training digits.

Measured on 359 test digits after 400 steps, all networks at 100 % of their training set: 5 x 5 93.8 % [92.4, 95.1], two
of 3 x 3 93.6 % [92.0, 95.2], in pairs -0.2 points [-2.5, 2.1], for 11,930 parameters in the place of 13,418; 7 x 7
93.1 % [91.4, 94.8], three of 3 x 3 91.3 % [90.0, 92.5], in pairs -1.8 points [-3.7, 0.0], for 18,890 in the place of
26,090. Stacks cost more multiply-accumulates here, 560,032 and 995,488 for 345,760 and 677,536, because the first block
has one channel to begin with, not C. 19 minutes, 10 of them compiling, on two cores that many other programs shared.
"""

from cvdl_jax.config import configs

METHODS = {
    "one_5x5": {"model": {"kernel": 5}},
    "two_3x3": {"model": {"kernel": 3, "convolutions": 2}},
    "one_7x7": {"model": {"kernel": 7}},
    "three_3x3": {"model": {"kernel": 3, "convolutions": 3}},
}
AGAINST = {"two_3x3": "one_5x5", "three_3x3": "one_7x7"}


def get_config(arg=None):
    """The run's numbers; `smoke` makes it two steps at tiny size."""
    from configs.studies import capacity

    arg = configs.parse_arg(arg, smoke=False)
    config = capacity.get_config("smoke" if arg.smoke else None)
    methods = {name: METHODS[name] for name in (("one_5x5", "two_3x3") if arg.smoke else METHODS)}
    config.study.methods = methods
    config.study.against = {name: base for name, base in AGAINST.items() if name in methods}
    config.study.margin = 2
    config.model = {"name": "convnet", "channels": (16, 16, 16), "units": (), "scores": "maps"}
    return config
