"""Train on phantoms and predict one that was not seen: python monai_script.py COHORT OUT"""

import sys
from pathlib import Path

import monai
import monai.transforms as mt
import torch
from torch.utils.data import RandomSampler

import ankleseg.transforms as at
from ankleseg.networks import UNet

cohort, out = map(Path, sys.argv[1:])
monai.utils.set_determinism(0)
both, masks = ["image", "label"], cohort / "derivatives" / "manual"
pairs = zip(sorted(cohort.glob("sub-*/anat/*_T1w.nii.gz")), sorted(masks.rglob("*-calcaneus_mask.nii.gz")), strict=True)
*train, test = [dict(zip(both, pair, strict=True)) for pair in pairs]
prepare = mt.Compose([
    mt.LoadImaged(both),
    mt.EnsureChannelFirstd(both),
    mt.Orientationd(both, axcodes="PSR", labels=None),  # sagittal slices along the last axis
    at.ResampleToSpacingd(both, pixdim=(1.6, 1.6, None), mode=(1, 0)),
    at.ForegroundMaskd("image"),  # adds the key "foreground"
    at.NormalizeInForegroundd("image"),
])  # fmt: skip
patch = {"size": (64, 64), "min_foreground": 0.4, "balance": 0.5}
random = [at.RandForegroundCropd(both, **patch), mt.SelectItemsd(both), mt.RandGaussianNoised("image", prob=0.5)]
draw = mt.Compose([*prepare.transforms, at.ForegroundWindowsd(**patch), *random])
dataset = monai.data.CacheDataset(train, draw, progress=False)
patches = RandomSampler(dataset, replacement=True, num_samples=8 * 100)

network, loss_of, losses = UNet(widths=(16, 32, 64)), monai.losses.DiceCELoss(sigmoid=True), []
optimizer = torch.optim.Adam(network.parameters(), lr=4e-3)
scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=100)
for batch in monai.data.DataLoader(dataset, batch_size=8, sampler=patches):
    loss = loss_of(network(batch["image"]), batch["label"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    scheduler.step()
    losses.append(loss.item())

restore = mt.Compose([
    mt.Invertd("pred", prepare, orig_keys="image", nearest_interp=False),
    mt.AsDiscreted("pred", threshold=0.5),
    mt.SaveImaged("pred", output_dir=out, output_postfix="calcaneus", output_dtype="uint8", resample=False),
])  # fmt: skip
inferer = monai.inferers.SliceInferer(spatial_dim=2, roi_size=(64, 64), sw_batch_size=16, overlap=0.5, mode="gaussian")
with torch.no_grad():
    scan = prepare(test)
    scan["pred"] = inferer(scan["image"][None], network.eval())[0].sigmoid()
    restore(scan)
