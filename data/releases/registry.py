"""The releases that can be read from disk, by `data.name`."""

from data.releases.cub200 import CUB200
from data.releases.fgvc_aircraft import FGVC_AIRCRAFT
from data.releases.food101 import FOOD101
from data.releases.grocery_store import GROCERY_STORE
from data.releases.inaturalist2021 import INATURALIST2021
from data.releases.nabirds import NABIRDS
from data.releases.oxford_flowers102 import OXFORD_FLOWERS102
from data.releases.oxford_iiit_pet import OXFORD_IIIT_PET
from data.releases.release import Release
from data.releases.stanford_cars import STANFORD_CARS
from data.releases.stanford_dogs import STANFORD_DOGS

RELEASES: dict[str, Release] = {
    "cub200": CUB200,
    "nabirds": NABIRDS,
    "stanford_cars": STANFORD_CARS,
    "fgvc_aircraft": FGVC_AIRCRAFT,
    "stanford_dogs": STANFORD_DOGS,
    "oxford_flowers102": OXFORD_FLOWERS102,
    "oxford_iiit_pet": OXFORD_IIIT_PET,
    "food101": FOOD101,
    "inaturalist2021": INATURALIST2021,
    "grocery_store": GROCERY_STORE,
}
