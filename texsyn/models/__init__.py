"""The texture models, one file each; this table is all that a caller needs in order to offer them."""

#: method name -> module:class; the order is the one shown to people
METHODS = {
    "texto": "texsyn.models.texto:Texto",
    "texto-2018": "texsyn.models.texto2018:Texto2018",
    "gotex": "texsyn.models.gotex:Gotex",
    "gotex-net": "texsyn.models.gotex_net:GotexNet",
    "singan": "texsyn.models.singan:Singan",
    "sgan": "texsyn.models.sgan:Sgan",
    "psgan": "texsyn.models.sgan:Psgan",
    "gaussian": "texsyn.models.gaussian:Gaussian",
    "random-phase": "texsyn.models.gaussian:RandomPhase",
}
