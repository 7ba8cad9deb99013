"""A simulator of coronary angiography with the whole truth known.

The heart: ``axes`` (the ellipsoid that carries the tree), ``courses`` (where the vessels run),
``calibre`` (how wide they are), ``heart`` (the tree, cut into segments), ``lesion`` (narrowings).
The picture: ``xray`` (projection), ``chest`` and ``catheter`` (what else is in the beam), ``beat``
(timing and motion), ``scene`` (everything where it is in one frame), ``film`` (noise and stored
values), ``run`` (all frames), ``views`` (what a view shows), ``labels`` (the truth of a frame).
The data set: ``dataset`` and the modules that it names.
"""
