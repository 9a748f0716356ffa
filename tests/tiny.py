"""Runs as small as can be that have all the parts, on the shipped digits: CDRL, and one energy."""

TINY = """\
include "data/digits.gin"
include "methods/cdrl.gin"
NUM_STEPS = 4
BATCH_SIZE = 8
LANGEVIN_STEPS = 2
ENERGY_LR = 1e-2
EMA_DECAY = 0.5
RecoveryLikelihood.energy = @CooperativeResNet()
CooperativeResNet.shape = %SHAPE
CooperativeResNet.num_classes = %NUM_CLASSES
CooperativeResNet.channels = 8
CooperativeResNet.channel_mult = (1, 2)
CooperativeResNet.num_blocks = 1
RecoveryLikelihood.initializer = @UNet()
UNet.shape = %SHAPE
UNet.num_classes = %NUM_CLASSES
UNet.dim = 8
UNet.dim_mults = (1,)
UNet.num_blocks = 1
UNet.groups = 4
UNet.dropout = 0.1
UNet.attention_resolutions = ()
energy/AdamW.warmup_steps = 3
Trainer.log_every = 1
Trainer.sample_every = 4
Trainer.save_every = 2
Trainer.num_samples = 4
"""

ONE = """\
include "data/digits.gin"
include "methods/one_energy.gin"
NUM_STEPS = 4
BATCH_SIZE = 8
LANGEVIN_STEPS = 2
RECOVERY_START = 2
LR = 1e-2
EMA_DECAY = 0.5
OneEnergy.label_dropout = 0.3
NormalizedEnergy.energy = @UNetEnergy()
NormalizedEnergy.width = 8
UNetEnergy.shape = %SHAPE
UNetEnergy.num_classes = %NUM_CLASSES
UNetEnergy.dim = 8
UNetEnergy.dim_mults = (1,)
UNetEnergy.num_blocks = 1
UNetEnergy.groups = 4
UNetEnergy.attention_resolutions = ()
energy/Muon.warmup_steps = 1
Trainer.log_every = 1
Trainer.sample_every = 4
Trainer.save_every = 2
Trainer.num_samples = 4
"""
